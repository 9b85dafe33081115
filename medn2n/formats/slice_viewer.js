// Slices before and after: unpack the one that is shown, apply the window, draw. See slice_viewer.py for the packing.
const NOT_FINITE = 65535;
const NOTCH = 60; // of the wheel, in pixels: mice send about 100 at once, touch pads many small ones

async function unpacked(slice, name) {
  const { [name]: data, [name + "Offset"]: offset, [name + "Step"]: step, rows, columns } = slice.dataset;
  const packed = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const values = new Float64Array(rows * columns);
  let number = 0;
  for (let index = 0; index < values.length; index++) {
    const coded = planes[index] * 256 + planes[values.length + index];
    number = (number + ((coded >>> 1) ^ -(coded & 1))) & 0xffff;
    values[index] = number === NOT_FINITE ? NaN : +offset + step * number;
  }
  return values;
}

function draw(canvas, values, rows, columns, low, high) {
  Object.assign(canvas, { height: rows, width: columns });
  const image = new ImageData(columns, rows);
  const bytes = image.data;
  for (let index = 0; index < values.length; index++) {
    // A clamped array rounds, keeps to 0 … 255, and makes black of what is no number.
    const place = 4 * index;
    bytes[place] = bytes[place + 1] = bytes[place + 2] = ((values[index] - low) * 255) / (high - low);
    bytes[place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function words(value, width) {
  const text = value.toFixed(Math.max(0, 1 - Math.floor(Math.log10(width))));
  return (+text === 0 ? text.replace("-", "") : text).replace("-", "−");
}

class SliceViewer {
  constructor(figure) {
    this.figure = figure;
    this.slices = [...figure.querySelectorAll(".slice")];
    this.pictures = [...figure.querySelectorAll(".picture")];
    this.slider = figure.querySelector(".slider input");
    this.buttons = [...figure.querySelectorAll(".window button")];
    this.inputs = { level: figure.querySelector("input.level"), width: figure.querySelector("input.width") };
    this.window = { level: +figure.dataset.level, width: +figure.dataset.width };
    this.held = null;
    this.listen();
    this.setWindow({});
    this.show();
  }

  listen() {
    for (const button of this.buttons) {
      const { level, width } = button.dataset;
      button.addEventListener("click", () => this.setWindow({ level: +level, width: +width }));
    }
    for (const [name, input] of Object.entries(this.inputs)) {
      input.addEventListener("input", () => this.setWindow({ [name]: +input.value }));
    }
    for (const [place, picture] of this.pictures.slice(0, 2).entries()) this.listenToHold(place, picture.firstChild);
    if (!this.slider) return;
    this.slider.addEventListener("input", () => this.show());
    let turned = 0;
    this.figure.querySelector(".pictures").addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.deltaY === 0) return;
      const next = +this.slider.value + Math.sign(event.deltaY);
      if (next < 0 || next > +this.slider.max) return; // the page scrolls on
      event.preventDefault();
      turned += event.deltaY * (event.deltaMode ? NOTCH : 1);
      if (Math.abs(turned) < NOTCH) return;
      turned = 0;
      this.slider.value = next;
      this.show();
    }, { passive: false });
  }

  listenToHold(place, canvas) {
    const hold = (held) => { this.held = held; this.paint(); };
    canvas.title = "Press and hold to see the other picture in this place";
    canvas.addEventListener("pointerdown", () => hold(place));
    canvas.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (this.held === null) hold(place);
    });
    for (const end of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) {
      canvas.addEventListener(end, () => { if (this.held === place) hold(null); });
    }
  }

  setWindow(change) {
    Object.assign(this.window, change);
    const { level, width } = this.window;
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", +button.dataset.level === level && +button.dataset.width === width);
    }
    for (const [name, input] of Object.entries(this.inputs)) {
      input.value = this.window[name];
      input.nextElementSibling.textContent = words(this.window[name], width);
    }
    this.paint();
  }

  async show() {
    const slice = this.slices[this.slider ? +this.slider.value : 0];
    this.wanted = slice;
    const [before, after] = await Promise.all([unpacked(slice, "before"), unpacked(slice, "after")]);
    if (slice !== this.wanted) return; // scrolled on meanwhile
    this.shown = slice;
    this.values = [before, after, after.map((value, index) => value - before[index])];
    this.paint();
    this.figure.querySelector(".where").textContent = slice.dataset.label;
  }

  paint() {
    if (!this.shown) return;
    const { rows, columns } = this.shown.dataset;
    const { level, width } = this.window;
    const half = width * this.figure.dataset.difference;
    const edges = [[level - width / 2, level + width / 2], [level - width / 2, level + width / 2], [-half, half]];
    for (const [place, picture] of this.pictures.entries()) {
      const source = place === this.held ? 1 - place : place;
      const [low, high] = edges[place];
      const [canvas, [name, range]] = [picture.firstChild, picture.lastChild.children];
      draw(canvas, this.values[source], +rows, +columns, low, high);
      name.textContent = this.pictures[source].firstChild.getAttribute("aria-label");
      range.textContent = `${words(low, high - low)} … ${words(high, high - low)}`;
    }
  }
}

for (const figure of document.querySelectorAll(".viewer")) {
  if ("DecompressionStream" in window) new SliceViewer(figure);
  else figure.querySelector(".where").textContent = "This browser is too old to show the pictures (older than 2023).";
}
