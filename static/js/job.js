// The live page of a job: asks for what changed, draws the curves.
"use strict";

(() => {
  const SECONDS = 2;
  const live = document.getElementById("job-live");
  const place = document.getElementById("curves");
  if (!live || !place) return;

  // What somebody folded is kept; the rest is as it was sent: the newest answers open.
  const sent = new Map([...live.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));

  // Only sections that changed are replaced, so that a selection, the focus and what is
  // folded open stay as they are.
  function merge(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const section of fresh.querySelectorAll("body > section[id]")) {
      const old = document.getElementById(section.id);
      if (!old) continue;
      const touched = new Map(
        [...old.querySelectorAll("details[id]")]
          .filter((d) => d.open !== sent.get(d.id))
          .map((d) => [d.id, d.open]),
      );
      for (const details of section.querySelectorAll("details[id]")) {
        sent.set(details.id, details.open);
        if (touched.has(details.id)) details.open = touched.get(details.id);
      }
      if (same(old, section)) continue;
      const focused = old.contains(document.activeElement) && way(document.activeElement);
      old.replaceWith(document.adoptNode(section));
      htmx.process(section);
      if (focused) document.querySelector(focused)?.focus();
      if (section.id === "live-points" || section.id === "live-sizes") draw();
      if (section.id === "live-state") {
        live.dataset.ended = section.dataset.ended;
        say(section);
      }
    }
  }

  // How to find the element with the focus again: by its id, or as what folds it.
  const way = (it) => (it.id ? `#${it.id}` : `#${it.closest("[id]").id} > summary`);

  // Said once for each change of state or stage; steps and seconds would never end.
  function say(section) {
    const found = [".state", "strong", "[aria-current=step]"].map((one) => section.querySelector(one));
    const words = found.map((one) => one?.firstChild.textContent.trim()).filter(Boolean).join(" ");
    const place = document.getElementById("live-said");
    if (place.textContent !== words) place.textContent = words;
  }

  // The token of a form differs in every answer and means nothing here.
  function same(one, other) {
    const plain = (node) => {
      const copy = node.cloneNode(true);
      for (const token of copy.querySelectorAll("[name=csrfmiddlewaretoken]")) token.remove();
      return copy.innerHTML;
    };
    return plain(one) === plain(other);
  }

  live.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== live || event.detail.xhr.status !== 200) return;
    event.detail.shouldSwap = false;
    merge(event.detail.xhr.responseText);
  });

  const timer = setInterval(() => {
    if (live.dataset.ended === "yes") return clearInterval(timer);
    if (!document.hidden) htmx.ajax("GET", live.dataset.poll, { source: live, target: live });
  }, SECONDS * 1000);

  // --- Curves ---------------------------------------------------------------------
  const plots = {};

  function show(where, lines, x, marks, decimals) {
    plots[where.id]?.destroy();
    plots[where.id] = new uPlot(options(lines, x, decimals), [marks, ...lines.map((line) => line[3])], where);
  }

  async function draw() {
    const answer = await fetch(place.dataset.curves);
    if (!answer.ok) return;
    const curves = await answer.json();
    drawSizes(curves.sizes ?? []);
    document.getElementById("curves-empty").hidden = curves.minutes.length > 0;
    if (!curves.minutes.length) return;
    // The base was measured before the first minute: its lines begin there.
    const minutes = [0, ...curves.minutes];
    const flat = (value) => minutes.map(() => value);
    const lines = [
      [place.dataset.target, "--curve-target", null, [null, ...curves.target]],
      [place.dataset.protected, "--curve-protected", null, [null, ...curves.protected]],
      [place.dataset.baseTarget, "--curve-target", [6, 6], flat(curves.base.target)],
      [place.dataset.baseProtected, "--curve-protected", [6, 6], flat(curves.base.protected)],
    ].filter(([, , , values]) => values.some((value) => value != null));
    show(place, lines, place.dataset.minutes, minutes, 1);
  }

  function drawSizes(sizes) {
    const where = document.getElementById("sizes");
    document.getElementById("sizes-place").hidden = !sizes.length;
    if (!sizes.length) return;
    const words = sizes.map((size) => size.tokens_per_word);
    const lines = [[where.dataset.words, "--curve-target", null, words]];
    show(where, lines, where.dataset.added, sizes.map((size) => size.added), 0);
  }

  // Under the plot: the value at the pointer, and where there is none the newest.
  const said = (decimals) => (plot, value, series, at) => {
    const shown = at == null ? plot.data[series].findLast((one) => one != null) : value;
    return shown == null ? "–" : shown.toFixed(decimals);
  };

  function options(lines, x, decimals) {
    const colour = (name) => getComputedStyle(place).getPropertyValue(name).trim();
    const series = ([label, name, dash]) => ({
      label,
      stroke: colour(name),
      width: 2,
      dash: dash ?? undefined,
      points: { show: !dash, size: 6 },
      spanGaps: true,
      value: said(3),
    });
    const values = lines.flatMap((line) => line[3]).filter((value) => value != null && value > 0);
    const wide = Math.max(...values) > 4 * Math.min(...values);
    const font = `13px ${getComputedStyle(place).fontFamily}`;
    const axis = { font, labelFont: font, stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 } };
    return {
      width: place.clientWidth,
      height: Math.max(200, Math.min(340, place.clientWidth / 2)),
      scales: { x: { time: false }, y: wide ? { distr: 3, log: 2 } : {} },
      axes: [
        { ...axis, label: x },
        { ...axis, size: 56 },
      ],
      legend: { markers: { dash: (_, n) => (n && lines[n - 1][2] ? "dashed" : "solid") } },
      series: [{ label: x, value: said(decimals) }, ...lines.map(series)],
    };
  }

  let drawing = 0;
  new ResizeObserver(() => {
    clearTimeout(drawing);
    drawing = setTimeout(draw, 200);
  }).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
