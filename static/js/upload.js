// Files in pieces: each goes on where it stopped, after a break, a pause or a reload.
"use strict";

(() => {
  const drop = document.getElementById("drop");
  const form = document.getElementById("upload-form");
  if (!drop || !form) return;
  const list = document.getElementById("uploads");
  const words = document.getElementById("upload-words").dataset;
  const picker = document.getElementById("id_files");
  const folder = document.getElementById("folder");
  const MEANT = /\.(txt|text|md|jsonl|ndjson|json|csv|tsv|tab|parquet|zip)(\.(gz|zst))?$/i;
  const files = [];
  let sending = false;

  drop.classList.add("scripted");
  drop.querySelector("[data-script]").hidden = false;
  picker.removeAttribute("name"); // the files go in pieces, not with the form

  function size(bytes) {
    const units = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [0, "B"]];
    const [unit, name] = units.find(([unit]) => bytes >= unit).map((part) => part || 1);
    const digits = unit > 1 && bytes < 100 * unit ? 1 : 0;
    return `${(bytes / unit).toLocaleString(undefined, { maximumFractionDigits: digits })} ${name}`;
  }
  function left(seconds) {
    const [n, say] = seconds < 90 ? [seconds, words.second]
      : seconds < 5400 ? [seconds / 60, words.minute] : [seconds / 3600, words.hour];
    return words.left.replace("{time}", say.replace("{n}", Math.ceil(n)));
  }

  function add(file) {
    const row = document.getElementById("upload-row").content.cloneNode(true).firstElementChild;
    const key = `upload:${drop.dataset.workspace}:${file.name}:${file.size}:${file.lastModified}`;
    const one = { file, row, key, create: drop.dataset.create, state: "waiting", sent: 0, id: null, url: null, tries: 0 };
    row.querySelector(".upload-name").textContent = file.webkitRelativePath || file.name;
    row.querySelector("[role=progressbar]").setAttribute("aria-label", file.name);
    row.addEventListener("click", (event) => act(one, event.target.dataset.act));
    list.append(row);
    files.push(one);
    show(one);
    next();
  }

  function show(one, problem = "") {
    const share = one.file.size ? (100 * one.sent) / one.file.size : 0;
    const bar = one.row.querySelector("[role=progressbar]");
    bar.setAttribute("aria-valuenow", Math.floor(share));
    bar.firstElementChild.style.inlineSize = `${share}%`;
    let says = `${size(one.sent)} / ${size(one.file.size)}`;
    if (one.state === "sending" && one.sent === one.file.size) says += ` · ${words.checking}`;
    else if (one.state === "sending" && one.speed > 0)
      says += ` · ${size(one.speed)}/s · ${left((one.file.size - one.sent) / one.speed)}`;
    if (one.state === "paused") says += ` · ${words.paused}`;
    if (one.state === "arrived") says = `${size(one.file.size)} · ${words.arrived}`;
    one.row.querySelector(".upload-says").textContent = says;
    const line = one.row.querySelector(".upload-problem");
    line.textContent = problem;
    line.hidden = !problem;
    one.row.querySelector("[data-act=pause]").hidden = !["waiting", "sending"].includes(one.state);
    const hopeless = one.hopeless || !one.file.size || !MEANT.test(one.file.name); // the same answer each time
    one.row.querySelector("[data-act=resume]").hidden = hopeless || !["paused", "failed"].includes(one.state);
  }

  function act(one, what) {
    if (what === "pause") { one.state = "paused"; one.watch?.request?.abort(); show(one); }
    if (what === "resume") { one.tries = 0; retry(one); }
    if (what === "cancel") {
      one.state = "removed";
      one.watch?.request?.abort();
      if (one.url) Sending.ask("DELETE", one.url, {}, null).catch(() => {});
      localStorage.removeItem(one.key);
      files.splice(files.indexOf(one), 1);
      one.row.remove();
    }
  }

  async function next() {
    const one = files.find((file) => file.state === "waiting");
    if (sending || !one) return;
    sending = true;
    one.state = "sending";
    try {
      const id = await Sending.send(one, () => show(one));
      if (id) arrive(one, id);
    } catch (error) {
      if (one.state === "sending") {
        one.state = "failed";
        one.hopeless = error.final;
        show(one, error.sentence || (error.gone ? words.gone : words.offline));
        const wait = Math.min(30, 2 ** one.tries++) * 1000;
        const again = !error.sentence && !error.gone;
        if (again) setTimeout(() => one.state === "failed" && retry(one), wait);
      }
    }
    sending = false;
    next();
  }
  const retry = (one) => {
    one.state = "waiting";
    show(one);
    next();
  };

  function arrive(one, id) {
    one.state = "arrived";
    one.sent = one.file.size;
    one.row.append(Object.assign(document.createElement("input"), { type: "hidden", name: "uploads", value: id }));
    show(one);
  }

  // --- Choosing and dropping ----------------------------------------------------------
  async function entries(entry) {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) break;
      for (const inside of some) found.push(...(await entries(inside)));
    }
    return found.filter((file) => MEANT.test(file.name));
  }
  for (const input of [picker, folder]) {
    input.addEventListener("change", () => {
      const chosen = [...input.files];
      for (const file of input === folder ? chosen.filter((f) => MEANT.test(f.name)) : chosen) add(file);
      input.value = "";
    });
  }
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", (event) => drop.contains(event.relatedTarget) || drop.classList.remove("over"));
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    // What is dragged out of another program has no entry, only a file.
    const dropped = [...event.dataTransfer.items]
      .filter((item) => item.kind === "file")
      .map((item) => item.webkitGetAsEntry() || item.getAsFile())
      .filter(Boolean);
    for (const one of dropped) {
      for (const file of one instanceof File ? [one] : await entries(one)) add(file);
    }
  });
  window.addEventListener("online", () => files.filter((f) => f.state === "failed").forEach(retry));
  form.addEventListener("submit", (event) => {
    const unfinished = files.find((file) => file.state !== "arrived");
    if (unfinished) {
      event.preventDefault();
      const said = unfinished.row.querySelector(".upload-problem").textContent;
      show(unfinished, said.includes(words.wait) ? said : `${said} ${words.wait}`.trim());
      unfinished.row.scrollIntoView({ block: "center" });
      return;
    }
    for (const one of files) localStorage.removeItem(one.key);
  });
})();
