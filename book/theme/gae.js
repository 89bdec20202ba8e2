// Small repairs of the theme, for keyboards and screen readers.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const wide = ["mjx-container[display]", ".gae-objective", ".gae-objective dd", ".bd-content pre",
    ".bd-content .cell_output > .output", ".pst-scrollable-table-container"].join();

  // Whatever scrolls sideways must be reachable by keyboard; nothing else becomes a stop of the Tab key.
  // All are measured before any is changed: in turns, each would lay out the page anew.
  const scrollers = () => [...document.querySelectorAll(wide)].map((e) => [e, e.scrollWidth > e.clientWidth + 1])
    .forEach(([e, long]) => long ? e.setAttribute("tabindex", "0") : e.removeAttribute("tabindex"));

  // Formulas from the top, a few at a time: one long task would hold up the reader's first touch.
  const config = window.MathJax?.config ?? window.MathJax;
  if (config) (config.startup ??= {}).pageReady = async () => {
    const left = [...document.querySelectorAll(".math, .output_area, .mathjax_process")];
    while (left.length) {
      await MathJax.typesetPromise(left.splice(0, 8));
      await new Promise((go) => setTimeout(go));
    }
  };

  addEventListener("DOMContentLoaded", () => {
    // A label that differs from the words on the button hides it from voice control.
    each(".search-button-field, details > summary", (e) => e.removeAttribute("aria-label"));
    // What stands in no landmark is skipped by those who go from one to the next.
    each(".bd-sidebar-primary", (e) => { e.setAttribute("role", "region"); e.setAttribute("aria-label", "The book"); });
    // A list of entries whose role is no list item.
    each(".citation-list, .citation-list > .citation", (e) => e.removeAttribute("role"));
  });
  // Formulas take their room late and push down what a link led to: go there again, unless the reader has moved on.
  let moved = false;
  for (const touch of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(touch, () => (moved = true), { passive: true });
  const arrive = () => moved || document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

  // A link to a place on this page leads there and closes the drawer that it stood in.
  addEventListener("click", (event) => event.target.closest?.("dialog a[href^='#']")?.closest("dialog").close());

  addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(scrollers).then(arrive));
  addEventListener("resize", scrollers);
})();
