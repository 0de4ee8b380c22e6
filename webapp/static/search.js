// A picture that is chosen, dropped or pasted is searched at once, with whatever else the form holds.
const form = document.getElementById("search");
const file = document.getElementById("image");
const send = document.getElementById("send");
const options = document.getElementById("options");
const slider = document.getElementById("min");
const least = document.getElementById("least");
const LONGEST_ADDRESS = 3000;

function searchBy(chosen) {
  if (!chosen?.type.startsWith("image/")) return false;
  const holder = new DataTransfer();
  holder.items.add(chosen);
  file.files = holder.files;
  form.requestSubmit(send);
  return true;
}

file.addEventListener("change", () => file.files.length && form.requestSubmit(send));

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

// An address holds only so much: a longer search is sent as a picture's is.
form.addEventListener("submit", (event) => {
  if (event.submitter?.formMethod !== "post" && form.method === "get"
      && new URLSearchParams(new FormData(form)).toString().length > LONGEST_ADDRESS) {
    event.preventDefault();
    setTimeout(() => form.requestSubmit(send)); // a form that is being sent cannot be sent
    return;
  }
  form.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", (event) => {
  form.removeAttribute("aria-busy");
  if (event.persisted) form.reset();
});

// The slider says its number, and pales at once what it would hide.
function preview() {
  const bound = Number(slider.value);
  least.value = bound ? `${bound} %` : "off";
  for (const card of document.querySelectorAll("[data-percent]")) card.classList.toggle("below", Number(card.dataset.percent) < bound);
}
slider.addEventListener("input", preview);

// Who works with the options open keeps them open.
if (sessionStorage.getItem("options") && matchMedia("(min-width: 48rem)").matches) options.open = true;
options.addEventListener("toggle", () => (options.open ? sessionStorage.setItem("options", "open") : sessionStorage.removeItem("options")));

// Enter saves where a name is typed, and does not search.
document.getElementById("save-as")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  form.requestSubmit(document.getElementById("save"));
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    form.elements.q.focus();
  }
});
