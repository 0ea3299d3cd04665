import { Problem, enter, snapshot } from "./client.js";
import * as view from "./view.js";

const period = 2000; // ms between two questions to the node
const staleAfter = 10; // seconds

/** Element by id; the page has all that are asked for. */
const at = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

let fresh = 0; // when the data on the page was asked for
let complaint = "";
let refused = ""; // why the link opened nothing

async function refresh() {
  try {
    const data = await snapshot();
    fresh = Date.now();
    complaint = "";
    document.title = `spare ${data.status.network}`;
    at("node").replaceChildren(view.node(data.status, fresh));
    at("peers").replaceChildren(view.peers(data.peers));
    at("tasks").replaceChildren(view.tasks(data.tasks, fresh));
    at("main").hidden = false;
  } catch (error) {
    // Without a session, what became of the link says more.
    complaint = (error instanceof Problem && error.status === 401 && refused) || explain(error);
  }
}

/** @param {unknown} error */
function explain(error) {
  if (error instanceof Problem) {
    return error.hint ? `${error.message}; ${error.hint}` : error.message;
  }
  return "the node does not answer; start it with 'spare up'";
}

function showAge() {
  const age = (Date.now() - fresh) / 1000;
  at("age").textContent = fresh === 0 ? "" : `as of ${view.duration(age)} ago`;
  const banner = at("stale");
  banner.hidden = complaint === "" && (fresh === 0 || age < staleAfter);
  const said = complaint || "this is old";
  if (banner.textContent !== said) {
    banner.textContent = said;
  }
}

async function run() {
  try {
    await enter();
  } catch (error) {
    complaint = refused = explain(error);
  }
  for (;;) {
    if (!document.hidden) {
      await refresh();
      showAge();
    }
    await new Promise((wake) => setTimeout(wake, period));
  }
}

setInterval(showAge, 1000);
run();
