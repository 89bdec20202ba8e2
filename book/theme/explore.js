// Figures that compute in the page. gaelib.plot.explore drew each one and left its state in data-state; here its
// handles come to life. A kind turns the state into numbers, lines (in pixels) and colours; `show` moves what is drawn.
(() => {
  const square = ([a, b], [c, d]) => (a - c) ** 2 + (b - d) ** 2;
  const first = (values, best) => values.indexOf(best(...values));
  const fixed = (v) => v.toFixed(2).replace(/^-(0\.00)$/, "$1").replace("-", "−");
  const round = (v) => Math.round(v * 100) / 100;
  const mean = (rows) => [0, 1].map((j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length);
  const along = ([x, y], [u, v], t) => [x + t * u, y + t * v];
  const unit = ([a, b], [c, d]) => { const n = Math.hypot(c - a, d - b); return n ? [(c - a) / n, (d - b) / n] : [1, 0]; };

  const kinds = {
    // Every point goes to its nearest centre; a step moves every centre to the mean of its points.
    kmeans({ at, K, colours }, px) {
      const centres = at.slice(0, K), points = at.slice(K), own = centres.map(() => []), lines = [], hues = colours.slice(0, K);
      let inertia = 0;
      for (const p of points) {
        const d = centres.map((c) => square(p, c)), k = first(d, Math.min);
        inertia += d[k];
        own[k].push(p);
        hues.push(colours[k]);
        lines.push([px(p), px(centres[k]), colours[k]]);
      }
      const means = centres.map((c, k) => own[k].length ? mean(own[k]) : c);
      const idle = own.flatMap((rows, k) => rows.length ? [] : `Centre ${k + 1} has no point and stays.`);
      return {
        numbers: { inertia: fixed(inertia), sizes: own.map((rows) => rows.length).join(", "), note: idle.join(" "),
          shift: fixed(Math.sqrt(Math.max(...means.map((m, k) => square(m, centres[k]))))) },
        lines, hues, next: [...means, ...points],
      };
    },

    // The eigenvalues of a covariance of two by two, in closed form.
    pca({ at, colours }, px) {
      const m = mean(at), [a, b, c] = [[0, 0], [0, 1], [1, 1]].map(([i, j]) =>
        at.reduce((sum, p) => sum + (p[i] - m[i]) * (p[j] - m[j]), 0) / (at.length - 1));
      const half = Math.hypot((a - c) / 2, b), top = (a + c) / 2 + half, low = Math.max(0, (a + c) / 2 - half);
      const turn = Math.atan2(2 * b, a - c) / 2, u = [Math.cos(turn), Math.sin(turn)];
      return {
        numbers: { along: fixed(top), across: fixed(low), share: fixed(top / (top + low || 1)), residual: fixed(low * (at.length - 1)) },
        lines: [[px(along(m, u, -1e3)), px(along(m, u, 1e3)), colours[0], 3],
          ...at.map((p) => [px(p), px(along(m, u, (p[0] - m[0]) * u[0] + (p[1] - m[1]) * u[1])), colours[1]])],
      };
    },

    // at: the point, then of each flat its mean and the tip of its direction.
    flats({ at, colours }, px) {
      const [x, ...ends] = at, flats = ends.filter((_, i) => i % 2 == 0).map((m, k) => [m, unit(m, ends[2 * k + 1])]);
      const feet = flats.map(([m, u]) => along(m, u, (x[0] - m[0]) * u[0] + (x[1] - m[1]) * u[1]));
      const d = feet.map((foot) => square(x, foot)), won = first(d, Math.min);
      return {
        numbers: { ...Object.fromEntries(d.map((v, k) => [`d${k + 1}`, fixed(v)])), winner: `${won + 1}`,
          mean: `${first(flats.map(([m]) => square(x, m)), Math.min) + 1}` },
        lines: [...flats.map(([m, u], k) => [px(along(m, u, -1e3)), px(along(m, u, 1e3)), colours[k], k == won ? 4 : 1.5]),
          ...feet.map((foot, k) => [px(x), px(foot), colours[k], ...(k == won ? [3] : [1.5, "4 4"])])],
      };
    },

    // at: (code, log joint); the second panel's bars stand on y = 232 and are at most 70 high.
    temperature({ at, T, box, colours }, px) {
      const l = at.map((p) => p[1]), top = Math.max(...l);
      const free = (T) => top + T * Math.log(l.reduce((sum, v) => sum + Math.exp((v - top) / T), 0));
      const F = free(T), q = l.map((v) => Math.exp((v - F) / T));
      const rule = (y, ...style) => [px([box[0], y]), px([box[1], y]), ...style];
      return {
        numbers: { T: fixed(T), F: fixed(F), H: fixed(-q.reduce((sum, v) => sum + (v && v * Math.log(v)), 0)), max: fixed(top),
          evidence: fixed(free(1)), ...Object.fromEntries(q.map((v, k) => [`q${k + 1}`, fixed(v)])) },
        lines: [rule(top, "currentColor", 1.5, "2 4"), rule(F, colours[1], 3), rule(free(1), "currentColor", 1.5, "8 4"),
          ...at.map((p, k) => { const [x] = px(p); return [[x, 232], [x, 232 - 70 * q[k]], colours[0], 28]; })],
      };
    },
  };

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
  const set = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));

  function start(figure) {
    const svg = figure.querySelector("svg"), handles = [...svg.querySelectorAll(".gae-handle")], lines = svg.querySelectorAll("line");
    const begin = figure.dataset.state, help = figure.querySelector(".gae-help"), controls = document.createElement("div");
    let s = JSON.parse(begin), seen, timer, range;
    const { map: [ox, kx, oy, ky], box } = s, px = ([x, y]) => [ox + kx * x, oy + ky * y];

    function show() {
      seen = kinds[s.kind](s, px);
      for (const [name, text] of Object.entries(seen.numbers))
        for (const e of figure.querySelectorAll(`[data-n="${name}"]`)) if (e.textContent != text) e.textContent = text;
      seen.lines.forEach(([[x1, y1], [x2, y2], stroke, width = 1.5, dash = "none"], i) =>
        set(lines[i], { x1, y1, x2, y2, stroke, "stroke-width": width, "stroke-dasharray": dash }));
      handles.forEach((handle, i) => {
        const [x, y] = s.at[i];
        set(handle, { transform: `translate(${px(s.at[i])})`, "aria-valuenow": s.T ? y : x,
          "aria-valuetext": s.T ? `${fixed(y)} nats` : `${fixed(x)}, ${fixed(y)}` });
        if (seen.hues) handle.setAttribute("fill", seen.hues[i]);
      });
      if (range) set(range, { "aria-valuetext": `T = ${fixed(s.T)}` });
      figure.dataset.state = JSON.stringify(s);
    }

    function move(i, [x, y]) {
      clearTimeout(timer);
      const within = (v, low, high) => Math.min(Math.max(v, low), high);
      const place = (gap) => [within(round(x), box[0] + gap, box[1] - gap), within(round(y), box[2] + gap, box[3] - gap)];
      if (s.arm && i) {  // a mean takes the tip of its direction along; a tip turns about its mean
        const m = i - 1 + i % 2, u = i % 2 ? unit(s.at[i], s.at[i + 1]) : unit(s.at[m], [x, y]);
        if (i % 2) s.at[i] = place(s.arm);
        s.at[m + 1] = along(s.at[m], u, s.arm);
      } else s.at[i] = s.T ? [s.at[i][0], place(0)[1]] : place(0);
      show();
    }

    const button = (name, act) => {
      const made = controls.appendChild(document.createElement("button"));
      Object.assign(made, { type: "button", textContent: name, onclick: () => { clearTimeout(timer); act(); } });
    };
    const step = () => {
      const rest = JSON.stringify(s.at) == JSON.stringify(seen.next);
      s.at = seen.next;
      show();
      return !rest;
    };
    const run = () => {
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) while (step());
      else if (step()) timer = setTimeout(run, 500);
    };

    set(svg, { role: "group" });
    handles.forEach((handle, i) => {
      const upright = s.T ? { "aria-orientation": "vertical", "aria-valuemin": box[2], "aria-valuemax": box[3] } :
        { "aria-valuemin": box[0], "aria-valuemax": box[1] };
      set(handle, { role: "slider", tabindex: 0, "aria-label": handle.dataset.name, ...upright });
      let grip;
      handle.onpointerdown = (event) => {
        event.preventDefault();
        handle.setPointerCapture(event.pointerId);
        handle.focus({ preventScroll: true });
        grip = true;
      };
      handle.onpointermove = (event) => {
        if (!grip) return;
        const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
        move(i, [(x - ox) / kx, (y - oy) / ky]);
      };
      handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });  // not a scroll
      handle.onlostpointercapture = () => (grip = false);
      handle.onkeydown = (event) => {
        const to = arrows[event.key], size = event.shiftKey ? 0.5 : 0.1;
        if (!to || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        move(i, along(s.at[i], to, size));
      };
    });
    if (s.T) {
      const label = controls.appendChild(document.createElement("label"));
      range = document.createElement("input");
      label.append("cold", range, "hot");
      Object.assign(range, { type: "range", min: -1.5, max: Math.log10(s.hottest), step: 0.1, value: Math.log10(s.T),
        oninput: () => { s.T = round(10 ** range.value); show(); } });
      range.setAttribute("aria-label", "Temperature T");
    }
    show();
    if (seen.next) { button("Step", step); button("Run", run); }
    button("Reset", () => { s = JSON.parse(begin); if (range) range.value = Math.log10(s.T); show(); });
    controls.className = "gae-controls";
    figure.querySelector("output").before(controls);
    help.textContent = "Drag a handle, or go to it with the Tab key and move it with the arrow keys (with Shift, in larger steps).";
  }

  addEventListener("DOMContentLoaded", () => document.querySelectorAll("figure.gae-explore").forEach(start));
})();
