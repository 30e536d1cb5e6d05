// A click, or Enter, enlarges a picture; arrows go to those beside it.
const enlarged = document.getElementById('enlarged');
let group = [];
let place = 0;
function enlarge() {
  const picture = group[place].querySelector('img');
  const large = document.getElementById('enlarged-picture');
  large.src = picture.src;
  large.alt = picture.alt;
  document.getElementById('enlarged-title').textContent = picture.alt;
}
document.querySelectorAll('.zoom').forEach((button) => {
  button.addEventListener('click', () => {
    const around = button.closest('.frame, .gallery') || document;
    group = [...around.querySelectorAll('.zoom')];
    place = group.indexOf(button);
    enlarge();
    enlarged.showModal();
  });
});
enlarged.addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    place = (place + step + group.length) % group.length;
    enlarge();
    event.preventDefault();
  }
});
enlarged.addEventListener('click', (event) => {
  if (event.target === enlarged || event.target.id === 'enlarged-picture') enlarged.close();
});
enlarged.addEventListener('close', () => group[place].focus());
