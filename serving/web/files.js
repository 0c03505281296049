// A place where a file is dropped, or chosen by a click.
import { make } from "./common.js";

export function dropzone(accept, says, name, take) {
  const picker = make("input", { type: "file", accept, className: "sr" });
  picker.setAttribute("aria-label", `${name}: ${says}`);
  const zone = make("label", { className: "drop" }, picker, make("span", { textContent: says }));
  picker.addEventListener("change", () => { if (picker.files[0]) take(picker.files[0]); });
  dropped(zone, take);
  return zone;
}

export function dropped(place, take) {
  place.addEventListener("dragover", (event) => { event.preventDefault(); place.classList.add("over"); });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
