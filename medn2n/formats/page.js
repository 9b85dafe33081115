for (const slider of document.querySelectorAll(".comparison .slider input")) {
  const frames = slider.closest("figure").querySelectorAll(".frame");
  slider.addEventListener("input", () => frames.forEach((frame, index) => { frame.hidden = index !== +slider.value; }));
}
for (const row of document.querySelectorAll(".pictures")) {
  const [before, after] = row.querySelectorAll("img.swap");
  if (!after) continue;
  const own = [before.src, after.src];
  for (const [index, picture] of [before, after].entries()) {
    picture.title = "Press and hold to see the other picture in this place";
    picture.addEventListener("pointerdown", () => { picture.src = own[1 - index]; });
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
      picture.addEventListener(end, () => { picture.src = own[index]; });
    }
  }
}
