// HTML, with its style and its script.
#include "page.hpp"

namespace cache {

const std::string_view status_page = R"html(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';
               connect-src 'self'">
<title>document cache</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em;
       color: #222; background: #fff }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 2em }
dl { display: flex; flex-wrap: wrap; gap: 1em 2.5em; margin: 0 }
dt { color: #666 } dd { margin: 0; font-size: 1.5em }
#shards { display: flex; flex-wrap: wrap; gap: .5em; padding: 0; list-style: none }
#shards li { border: 1px solid #9ab; border-left: .4em solid #2a7; padding: .3em .7em;
             min-width: 8em }
#shards li.hurt { border-left-color: #c33 }
table { border-collapse: collapse; width: 100% }
th { text-align: left; color: #666; font-weight: normal }
td, th { padding: .2em .8em .2em 0; vertical-align: top; border-bottom: 1px solid #dde }
td.number { text-align: right; white-space: nowrap } td.cause { overflow-wrap: anywhere }
#lost { color: #c33 }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181a1c } dt, th { color: #999 } td, th { border-color: #345 }
}
</style>
<h1>document cache</h1>
<p id="lost" role="alert"></p>
<dl id="figures"></dl>
<h2>Shards</h2>
<ul id="shards"></ul>
<h2>Recoveries</h2>
<table>
<thead><tr><th>shard<th>ago<th>took<th>changes<th>cause</thead>
<tbody id="recoveries"></tbody>
</table>
<script>
"use strict";
const at = id => document.getElementById(id);
function made(name, text, kind) {
  const one = document.createElement(name);
  one.textContent = text;
  if (kind) one.className = kind;
  return one;
}
function show(now) {
  const figures = [
    ["on poison", now.strategy], ["availability", (100 * now.availability).toFixed(3) + " %"],
    ["answers", now.answers], ["p50", now.p50_ms + " ms"], ["p99", now.p99_ms + " ms"],
    ["recoveries", now.recoveries], ["recovery p99", now.recovery_p99_ms + " ms"],
    ["in quarantine", now.quarantined]];
  at("figures").replaceChildren(...figures.map(([name, value]) => {
    const both = document.createElement("div");
    both.append(made("dt", name), made("dd", value));
    return both;
  }));
  at("shards").replaceChildren(...now.shards.map(each => {
    const hurt = each.poisoned || each.failure;
    const many = each.documents === 1 ? " document" : " documents";
    const text = each.number + ": " + each.documents + many;
    const one = made("li", text, hurt ? "hurt" : "");
    one.title = each.failure || (each.poisoned ? "poisoned" : each.changes + " since the base");
    return one;
  }));
  at("recoveries").replaceChildren(...now.last_recoveries.map(each => {
    const row = document.createElement("tr");
    row.append(made("td", each.shard, "number"),
               made("td", (each.ago_ms / 1000).toFixed(0) + " s", "number"),
               made("td", each.took_ms + " ms", "number"),
               made("td", each.changes, "number"), made("td", each.cause, "cause"));
    return row;
  }));
}
async function look() {
  try {
    const answer = await fetch("/status");
    if (!answer.ok) throw new Error("status " + answer.status);
    show(await answer.json());
    at("lost").textContent = "";
  } catch (error) {
    at("lost").textContent = "The server does not answer: " + error.message;
  }
  setTimeout(look, 1000);
}
look();
</script>
</html>
)html";

} // namespace cache
