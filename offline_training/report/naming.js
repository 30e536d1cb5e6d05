// Names are typed or picked; those of one name are told to be one class.
const fields = [...document.querySelectorAll('input.name')];
const save = document.getElementById('save');
const told = document.getElementById('told');
let saved = true;
function names() {
  return Object.fromEntries(
    fields.filter((field) => field.value.trim()).map((f) => [f.dataset.class, f.value.trim()]),
  );
}
function merge() {
  const given = names();
  fields.forEach((field) => {
    const own = field.dataset.class;
    const same = Object.keys(given).filter((n) => n !== own && given[n] === given[own]);
    const text = same.length ? `one with ${same.join(', ')}` : '';
    field.closest('.card').querySelector('.merged').textContent = text;
  });
  return Object.keys(given).length;
}
function changed() {
  saved = false;
  told.textContent = `${merge()} of ${fields.length} named, not saved yet`;
}
function download() {
  const lines = Object.entries(names()).map(([n, name]) => `${n}: ${JSON.stringify(name)}\n`);
  const link = document.createElement('a');
  link.href = `data:text/yaml;charset=utf-8,${encodeURIComponent(lines.join(''))}`;
  link.download = 'names.yaml';
  link.click();
  saved = true;
  told.textContent = 'names.yaml downloaded';
}
async function send() {
  told.textContent = 'saving';
  try {
    const answer = await fetch('names', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Token': save.dataset.token },
      body: JSON.stringify(names()),
    });
    told.textContent = await answer.text();
    saved = answer.ok;
  } catch {
    told.textContent = 'The command that serves this page has ended; nothing was saved.';
  }
}
function store() {
  if (save.dataset.run) send();
  else download();
}
fields.forEach((field, index) => {
  field.addEventListener('input', changed);
  field.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') {
      event.preventDefault();
      (fields[index + 1] || save).focus();
    }
  });
});
save.addEventListener('click', store);
document.addEventListener('keydown', (event) => {
  if (event.key === 's' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    store();
  }
});
window.addEventListener('beforeunload', (event) => { if (!saved) event.preventDefault(); });
merge();
