// The slider shows one frame and hides the others; without this, the first one is shown.
const slider = document.getElementById('frame');
const frames = [...document.querySelectorAll('.frame')];
function show() {
  frames.forEach((frame, index) => { frame.hidden = index !== Number(slider.value); });
  const title = frames[slider.value].dataset.title;
  slider.setAttribute('aria-valuetext', title);
  document.getElementById('frame-title').textContent = title;
}
if (slider) {
  slider.addEventListener('input', show);
  show();
}
