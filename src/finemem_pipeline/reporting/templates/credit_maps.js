// The credit maps of a comparison. Data: see `credit_payload`. Whatever a model wrote is set as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [picks, terms, why] = ["pick", "terms", "why"].map((id) => document.getElementById(id));
  const unique = (values) => [...new Set(values)];
  const trained = (play) => `${play.variant} · seed ${play.seed}`;
  const state = { played: data.plays[0]?.played, rows: "variants", stream: data.plays[0]?.stream, who: null };
  const narrow = matchMedia("(max-width: 860px)");
  let pinned = null; // {play, step} that stays when the pointer leaves

  function el(tag, props = {}, ...children) {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function number(value, digits = 2) {
    if (value === null || value === undefined) return "–";
    const text = Math.abs(value).toFixed(digits);
    return (value < 0 && Number(text) !== 0 ? "−" : "") + text.replace(/^0(?=\.)/, "");
  }

  function select(label, key, options) {
    const list = el("select", { id: `pick-${key}` }, ...options.map(([value, text]) => el("option", { value, textContent: text })));
    if (!options.some(([value]) => value === state[key])) state[key] = options[0]?.[0];
    list.value = state[key];
    list.addEventListener("change", () => { state[key] = list.value; pinned = null; draw(); });
    return el("label", { textContent: label }, list);
  }

  function draw() {
    const there = data.plays.filter((play) => play.played === state.played);
    const streams = unique(there.map((play) => play.stream)).map((id) => [id, id]);
    const trainings = unique(there.map(trained)).map((name) => [name, name]);
    const byStream = state.rows === "variants";
    picks.replaceChildren(
      select("played", "played", unique(data.plays.map((play) => play.played)).map((name) => [name, name])),
      select("rows", "rows", [["variants", "all variants on one stream"], ["streams", "all streams of one variant"]]),
      byStream ? select("stream", "stream", streams) : select("variant", "who", trainings),
    );
    const plays = there.filter((play) => (byStream ? play.stream === state.stream : trained(play) === state.who));
    terms.classList.toggle("long", plays.some((play) => play.steps.length > 9));
    terms.replaceChildren(...data.terms.map((term) => map(term, plays, byStream)).filter((found) => found !== null));
    show(pinned);
  }

  function map(term, plays, byStream) {
    const values = plays.flatMap((play) => play.terms[term] ?? []).filter((value) => value !== null);
    if (!values.length) return null;
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const strength = least < 0 // colours tell apart what stands in one map: from its least to its most, or around 0
      ? (value) => Math.abs(value) / Math.max(-least, most)
      : (value) => (most > least ? 0.06 + (0.94 * (value - least)) / (most - least) : most > 0 ? 0.5 : 0.06);
    const longest = Math.max(...plays.map((play) => play.steps.length));
    const steps = Array.from({ length: longest }, (_, step) => step);
    const head = el("tr", {}, el("th"), ...steps.map((step) => el("th", { textContent: step, scope: "col" })));
    const siblings = plays.some((play) => play.sibling);
    const rows = plays.flatMap((play, place) => {
      const begins = byStream && play.variant !== plays[place - 1]?.variant;
      const weight = play.weights[term];
      const heading = `${play.variant}${weight === undefined ? "" : ` × ${weight}`}`;
      const name = `${byStream ? `seed ${play.seed}` : play.stream}${siblings ? ` · ${play.sibling + 1}` : ""}`;
      const cells = play.steps.map((_, step) => el("td", {}, cell(term, play, step, strength)));
      return [
        ...(begins ? [el("tr", { className: "of" }, el("th", { colSpan: longest + 1, scope: "rowgroup" }, el("span", { textContent: heading })))] : []),
        el("tr", { className: weight === 0 ? "unpaid" : "" }, el("th", { textContent: name, title: name, scope: "row" }), ...cells),
      ];
    });
    const scale = el("span", { className: "scale" }, number(least), el("i", { className: least < 0 ? "around" : "" }), number(most));
    return el(
      "section", { className: "map" },
      el("h3", { textContent: term }, scale),
      el("div", { className: "wide" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows))),
    );
  }

  function cell(term, play, step, strengthOf) {
    const value = play.terms[term]?.[step] ?? null;
    const strength = value === null ? 0 : strengthOf(value);
    const names = ["cell", value === null ? "none" : value < 0 ? "minus" : "", strength > 0.75 ? "full" : ""];
    const button = el("button", { type: "button", className: names.filter(Boolean).join(" "), textContent: value === null ? "·" : number(value) });
    button.style.setProperty("--strength", strength.toFixed(3));
    button.setAttribute("aria-label", `${term}, ${trained(play)}, chunk ${step}: ${value === null ? "no value" : number(value, 3)}`);
    button.tabIndex = step ? -1 : 0; // arrows go on from the first of a row
    button.at = { play, step };
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(button.at));
    button.addEventListener("click", () => {
      pinned = button.at;
      show(pinned);
      if (narrow.matches) button.closest(".map").scrollIntoView(); // what is told covers the lower half
    });
    return button;
  }

  const same = (one, other) => one !== null && other !== null && one.play === other.play && one.step === other.step;

  terms.addEventListener("pointerleave", () => show(pinned));
  terms.addEventListener("scroll", (event) => { // the same steps stay below each other
    for (const other of terms.querySelectorAll(".wide")) if (other !== event.target) other.scrollLeft = event.target.scrollLeft;
  }, true);
  terms.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    const here = event.target.closest("td");
    if (!here || !(down || right)) return;
    const rows = [...here.closest("tbody").rows].filter((row) => row.querySelector("button"));
    rows[rows.indexOf(here.parentElement) + down]?.cells[here.cellIndex + right]?.querySelector("button")?.focus();
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { pinned = null; show(null); } });

  function show(at) {
    for (const button of terms.querySelectorAll(".cell")) button.classList.toggle("same", same(at, button.at));
    why.classList.toggle("idle", at === null);
    why.replaceChildren(...(at === null ? [el("p", { className: "soft", textContent: "Point at a square." })] : told(at)));
  }

  function told({ play, step }) {
    const [chunk, done] = [data.streams[play.stream].chunks[step], play.steps[step]];
    const close = el("button", { className: "close", type: "button", textContent: "×", ariaLabel: "close" });
    close.addEventListener("click", () => { pinned = null; show(null); });
    const using = play.questions.filter((asked) => asked.evidence.some((item) => item.writes.includes(step)));
    const paid = data.terms.filter((term) => (play.terms[term]?.[step] ?? null) !== null).map((term) =>
      el("span", {}, el("b", { textContent: number(play.terms[term][step]) }), ` ${term}${term in play.weights ? ` × ${play.weights[term]}` : ""}`));
    return [
      close,
      el("h3", { textContent: `Chunk ${step} of ${play.stream}` }),
      el("p", { className: "soft", textContent: `${trained(play)}${play.played === "held out" ? "" : ` · ${play.played}, sibling ${play.sibling + 1}`} · ${done.memory_tokens} memory tokens after it` }),
      el("div", { className: "sum" }, ...paid),
      el("h4", { textContent: chunk.time ? `Chunk · ${chunk.time}` : "Chunk" }),
      el("div", { className: "text", textContent: chunk.text }),
      el("h4", { textContent: "Operations" }),
      el("ul", {}, ...operations(done)),
      ...(done.questions.length ? [el("h4", { textContent: "Questions of this chunk, asked right after it" }), ...done.questions.map((each) => answer(each, null))] : []),
      el("h4", { textContent: `Answers that used what was written here: ${using.length}\u00a0of\u00a0${play.questions.length}` }),
      ...using.map((each) => answer(each, step)),
    ];
  }

  function operations(done) {
    const written = done.operations.map((each) => el(
      "li", {},
      el("span", { className: `tag ${each.kind}`, textContent: each.item ? `${each.kind} ${each.item}` : each.kind }),
      each.text,
      each.refused ? el("span", { className: "bad", textContent: ` refused: ${each.refused}` }) : null,
    ));
    const broken = done.malformed.map((text) => el("li", {}, el("span", { className: "tag bad", textContent: "malformed" }), text));
    return written.length + broken.length ? [...written, ...broken] : [el("li", { className: "skip", textContent: "nothing written" })];
  }

  function answer(asked, step) {
    const judged = asked.score === null ? "not scored" : number(asked.score);
    const items = step === null ? [] : asked.evidence.filter((item) => item.writes.includes(step)).map((item) => {
      const last = item.writes.at(-1);
      return el("li", { className: "soft" }, el("span", { className: "tag", textContent: item.id }), `${item.text}${last === step ? "" : ` (rewritten at chunk ${last})`}`);
    });
    const side = asked.score === null ? "" : asked.score >= 0.5 ? "right" : "wrong";
    return el(
      "div", { className: `asked ${side}` },
      el("p", {}, el("b", { textContent: asked.question })),
      el("p", {}, asked.prediction || "no answer", el("span", { className: "soft", textContent: ` · ${judged}${asked.failure ? `: ${asked.failure}` : ""} · reference: ${asked.references.join(" | ") || "–"}` })),
      el("ul", {}, ...items),
    );
  }

  if (!data.plays.length) return;
  draw();
  const first = terms.querySelector(".cell");
  if (first && !narrow.matches) { pinned = first.at; show(pinned); }
})();
