// One file to the server, piece by piece (webapp/datasets/upload_views.py has the rules).
"use strict";

const Sending = (() => {
  const csrf = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

  // A request whose way up can be watched; resolves to {status, body, offset}.
  function ask(method, url, headers, body, watch) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, url);
      for (const [name, value] of Object.entries({ ...headers, "X-CSRFToken": csrf() }))
        request.setRequestHeader(name, value);
      request.onerror = request.onabort = request.ontimeout = () => reject(new Error("connection"));
      request.onload = () => {
        const json = (request.getResponseHeader("Content-Type") || "").includes("json");
        const body = json ? JSON.parse(request.responseText) : {};
        resolve({ status: request.status, json, body, offset: request.getResponseHeader("Upload-Offset") });
      };
      if (watch) { request.upload.onprogress = (event) => watch(event.loaded); watch.request = request; }
      request.send(body);
    });
  }

  function refuse(answer) {
    if (answer.json && answer.status < 300) return answer.body;
    const error = new Error("refused");
    // Another answer than JSON is the sign-in page, or a server that is away.
    error.sentence = answer.body.sentence || "";
    error.gone = !answer.json && answer.status < 500;
    error.final = answer.status === 415; // no text, whatever it is called
    throw error;
  }

  async function begin(one) {
    const known = localStorage.getItem(one.key);
    if (known) {
      const answer = await ask("GET", known, {}, null);
      if (answer.json && answer.status === 200 && !answer.body.used) return answer.body;
      if (answer.status !== 200 || answer.json) localStorage.removeItem(one.key);
    }
    const about = new URLSearchParams({ name: one.file.name, size: one.file.size });
    return refuse(await ask("POST", one.create, {}, about));
  }

  // Sends what is missing of a file {file, key, create, state}; sets url, sent and speed on
  // it and calls show() as they change. Resolves to the upload's id, or null where the
  // state was changed meanwhile. Rejects with an error that has a sentence if the server
  // refused (`final`: and always will), `gone` if nobody is signed in, and neither if the
  // connection broke.
  async function send(one, show) {
    let status = await begin(one);
    one.url = status.url;
    localStorage.setItem(one.key, status.url);
    let clock = performance.now();
    while (status.state === "receiving" && one.state === "sending") {
      const from = status.received;
      const piece = one.file.slice(from, from + status.chunk);
      const headers = { "Upload-Offset": from, "Content-Type": "application/octet-stream" };
      const digest = await checksum(piece);
      if (digest) headers["Upload-Checksum"] = `sha256 ${digest}`;
      if (one.state !== "sending") return null; // paused while the sum was made
      let before = 0;
      one.watch = (loaded) => {
        const now = performance.now();
        if (now - clock > 250) {
          const speed = (1000 * (loaded - before)) / (now - clock);
          one.speed = one.speed ? 0.8 * one.speed + 0.2 * speed : speed;
          [clock, before] = [now, loaded];
        }
        one.sent = Math.min(from + loaded, one.file.size);
        show();
      };
      const answer = await ask("PATCH", one.url, headers, piece, one.watch);
      if (answer.status === 460) throw new Error("damaged on its way: again");
      if (answer.status === 409) {
        const right = Number(answer.offset);
        if (right === from) throw new Error("another page is sending it: later");
        status = { ...answer.body, received: right };
      } else status = refuse(answer);
      one.sent = status.received;
      one.tries = 0;
    }
    return status.state === "received" ? status.id : null;
  }

  async function checksum(piece) {
    if (!window.crypto?.subtle) return "";
    const digest = await crypto.subtle.digest("SHA-256", await piece.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  return { ask, send };
})();
