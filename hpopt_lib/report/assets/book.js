// Draws the interactive figures from the JSON in the page: no request leaves it, so it works from file://.
(function () {
  "use strict";

  function isDark() {
    return document.documentElement.dataset.theme === "dark";
  }

  function fontFamily() {
    return getComputedStyle(document.body).fontFamily;
  }

  // ---- Plotly ---------------------------------------------------------------------------------
  function axes(colours) {
    return { gridcolor: colours.grid, zerolinecolor: colours.zero, linecolor: colours.zero };
  }

  function themed(layout, width) {
    var dark = isDark();
    var colours = dark
      ? { text: "#ced6dd", grid: "#39414a", zero: "#5a6570", hover: "#222832" }
      : { text: "#323232", grid: "#e6e9ee", zero: "#c3c9d1", hover: "#ffffff" };
    var out = JSON.parse(JSON.stringify(layout || {}));
    var base = ((out.template || {}).layout) || {};
    delete out.width; // the column decides
    out.margin = Object.assign({ l: 64, r: 24, t: out.title && out.title.text ? 56 : 28, b: 52 }, out.margin);
    delete base.plot_bgcolor;
    out.autosize = true;
    out.paper_bgcolor = "rgba(0,0,0,0)";
    out.plot_bgcolor = "rgba(0,0,0,0)";
    out.font = Object.assign({ size: 13 }, out.font, { family: fontFamily(), color: colours.text });
    if (out.title && out.title.font) delete out.title.font.color;
    out.hoverlabel = Object.assign({}, out.hoverlabel, {
      bgcolor: colours.hover, bordercolor: colours.zero, font: { color: colours.text, family: fontFamily() }
    });
    Object.keys(out).concat(["xaxis", "yaxis"]).forEach(function (key) {
      if (/^[xy]axis\d*$/.test(key)) out[key] = Object.assign({}, out[key], axes(colours));
      if (/^scene\d*$/.test(key)) {
        ["xaxis", "yaxis", "zaxis"].forEach(function (axis) {
          out[key][axis] = Object.assign({}, out[key][axis], axes(colours), { backgroundcolor: "rgba(0,0,0,0)" });
        });
      }
    });
    (out.annotations || []).forEach(function (note) {
      if (note.font) delete note.font.color;
    });
    if (out.legend) out.legend.bgcolor = "rgba(0,0,0,0)";
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: colours.zero, activecolor: colours.text };
    if (width < 560) { // a phone: the legend goes below and the axes get the room
      out.margin = Object.assign({}, out.margin, { l: 54, r: 12 });
      out.font.size = 11;
      if (out.showlegend !== false) out.legend = Object.assign({}, out.legend, { orientation: "h", x: 0, y: -0.25, yanchor: "top", xanchor: "left" });
      if (out.title && out.title.text) out.title = Object.assign({}, out.title, { font: { size: 13 } });
    }
    return out;
  }

  function figureOf(element) {
    if (!element.bookFigure) {
      element.bookFigure = JSON.parse(document.querySelector('script[data-plotly-for="' + element.id + '"]').textContent);
    }
    return element.bookFigure;
  }

  function drawPlotly(element) {
    var figure = figureOf(element);
    if (!element.classList.contains("js-plotly-plot")) element.textContent = "";
    element.bookWidth = element.clientWidth;
    window.Plotly.react(element, figure.data, themed(figure.layout, element.clientWidth), {
      responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: ""
    });
    element.dataset.drawn = isDark() ? "dark" : "light";
  }

  // ---- chemiscope -----------------------------------------------------------------------------
  function hasWebGL() {
    var canvas = document.createElement("canvas");
    var context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    if (!context) return false;
    var release = context.getExtension("WEBGL_lose_context"); // browsers allow only a few contexts at a time
    if (release) release.loseContext();
    return true;
  }

  function panes(id, mode) {
    var side = '<div class="book-chemiscope-side"><div id="' + id + '-meta"></div><div id="' + id + '-map" class="book-chemiscope-view"></div></div>';
    var structure = '<div class="book-chemiscope-side">' + (mode === "structure" ? '<div id="' + id + '-meta"></div>' : "") +
      '<div id="' + id + '-structure" class="book-chemiscope-view"></div><div id="' + id + '-info" class="book-chemiscope-info"></div></div>';
    return mode === "structure" ? structure : side + structure;
  }

  function parse(text) { // Python writes NaN, which JSON does not know
    return JSON.parse(text.replace(/\bNaN\b/g, '"***NaN***"'), function (_key, value) {
      return value === "***NaN***" ? NaN : value;
    });
  }

  function drawChemiscope(element) {
    if (!hasWebGL()) { // the picture stays
      element.dataset.drawn = "picture";
      return;
    }
    var id = element.id;
    var mode = element.dataset.mode;
    var data = parse(document.querySelector('script[data-chemiscope-for="' + id + '"]').textContent);
    var warnings = new window.Chemiscope.Warnings();
    warnings.addHandler(function (message) { console.warn(message); });
    var picture = element.innerHTML;
    element.innerHTML = panes(id, mode);
    element.classList.add("book-chemiscope-live");
    var config = { meta: id + "-meta", map: id + "-map", info: id + "-info", structure: id + "-structure" };
    var kind = mode === "structure" ? window.Chemiscope.StructureVisualizer : window.Chemiscope.DefaultVisualizer;
    kind.load(config, data, warnings).then(function () {
      element.dataset.drawn = "live";
    }).catch(function (error) {
      element.classList.remove("book-chemiscope-live");
      element.innerHTML = picture;
      element.dataset.drawn = "picture";
      console.error(error);
    });
  }

  // ---- start ----------------------------------------------------------------------------------
  function everyPlotly(action) {
    if (window.Plotly) document.querySelectorAll(".book-plotly").forEach(action);
  }

  // a side bar that opens, or a phone that is turned, changes the column without resizing the window
  function follow(element) {
    new ResizeObserver(function () {
      if (element.clientWidth !== element.bookWidth) drawPlotly(element);
    }).observe(element);
  }

  function start() {
    if (window.Chemiscope) document.querySelectorAll(".book-chemiscope").forEach(drawChemiscope);
    everyPlotly(drawPlotly);
    everyPlotly(follow);
    new MutationObserver(function () {
      everyPlotly(function (element) {
        if (element.dataset.drawn !== (isDark() ? "dark" : "light")) drawPlotly(element);
      });
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
