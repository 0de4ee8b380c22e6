// A picture that is chosen, dropped or pasted is searched at once.
const words = document.getElementById("words");
const picture = document.getElementById("picture");
const file = document.getElementById("image");
const finder = document.getElementById("finder");

function searchBy(chosen) {
  if (!chosen?.type.startsWith("image/")) return false;
  const holder = new DataTransfer();
  holder.items.add(chosen);
  file.files = holder.files;
  submitPicture();
  return true;
}

// The options belong to the form for words; the picture is searched under the same ones.
function submitPicture() {
  for (const name of ["collection", "namespace", "k", "min"]) {
    const value = new FormData(words).get(name);
    const field = picture.elements[name] ?? picture.appendChild(Object.assign(document.createElement("input"), { type: "hidden", name }));
    if (value !== null) field.value = value;
  }
  finder.setAttribute("aria-busy", "true");
  picture.requestSubmit();
}

file.addEventListener("change", () => file.files.length && submitPicture());

document.addEventListener("paste", (event) => {
  if (searchBy([...event.clipboardData.files][0])) event.preventDefault();
});

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  searchBy(event.dataTransfer.files[0]);
});

// Fields that were left empty stay out of the address.
words.addEventListener("submit", () => {
  finder.setAttribute("aria-busy", "true");
  for (const field of document.querySelectorAll("[form=words]")) field.disabled = field.value === "";
});
window.addEventListener("pageshow", (event) => {
  finder.removeAttribute("aria-busy");
  document.querySelectorAll("[form=words]").forEach((field) => { field.disabled = false; });
  if (event.persisted) picture.reset();
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    words.elements.q.focus();
  }
});
