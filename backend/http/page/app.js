/**
 * The status page: set up once, sign in, then watch. It talks to the API that everyone uses, and
 * keeps the session token in this tab only. Text from the server is set as text, never as HTML.
 */
const storageKey = 'kernreaktor-session';
const refreshMs = 5_000;
const shownNodesMax = 200;
const shownDecisions = 8;
/** Above it a bar changes its colour; only a hint for the eye. */
const highRatio = 0.8;

const byId = (id) => document.getElementById(id);
const views = ['setup', 'sign-in', 'status'];

function show(view) {
  for (const id of views) byId(id).hidden = id !== view;
  byId('sign-out').hidden = view !== 'status';
  byId(view).querySelector('input')?.focus();
}

function notify(text) {
  byId('notice').textContent = text;
  byId('notice').hidden = text === '';
}

const messageOf = (error) =>
  error.problem
    ? [error.message, error.problem.wayOut].filter(Boolean).join(' ')
    : 'The server does not answer. Trying again.';

async function call(method, path, body) {
  const token = sessionStorage.getItem(storageKey);
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const sent =
    body === undefined
      ? { method, headers }
      : {
          method,
          headers: { ...headers, 'content-type': 'application/json' },
          body: JSON.stringify(body),
        };
  const response = await fetch(`/api/v1/${path}`, sent);
  const answer = response.status === 204 ? null : await response.json();
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.detail), { status: response.status, problem: answer });
}

const gibibytes = (bytes) => (bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0);
const orDash = (value, format) => (value === null ? '–' : format(value));

function ageText(ms) {
  if (ms < 60_000) return `${Math.round(ms / 1_000)} s ago`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min ago`;
  return ms < 86_400_000
    ? `${Math.round(ms / 3_600_000)} h ago`
    : new Date(Date.now() - ms).toLocaleDateString();
}

function element(tag, text, className = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

/** A ratio as a bar with its number beside it; not measured is a dash, never an empty bar. */
function gauge(ratio, text) {
  if (ratio === null) return element('td', '–');
  const cell = document.createElement('td');
  const bar = element('span', '', ratio > highRatio ? 'bar high' : 'bar');
  const fill = element('span', '');
  fill.style.width = `${Math.min(100, ratio * 100)}%`;
  bar.append(fill);
  const box = element('div', '', 'gauge');
  box.append(bar, element('span', text));
  cell.append(box);
  return cell;
}

function nameCell(node) {
  const cell = element('th', '');
  cell.scope = 'row';
  cell.append(element('span', `${node.cluster}/`, 'faint'), node.id);
  for (const mark of ['protected', 'simulated']) {
    if (node[mark]) cell.append(' ', element('small', mark));
  }
  return cell;
}

function stateCell(state) {
  const cell = document.createElement('td');
  const badge = element('span', state, 'state');
  badge.dataset.state = state;
  cell.append(badge);
  return cell;
}

function rowOf(node) {
  const { memoryUsedBytes: used, memoryTotalBytes: total } = node;
  const row = document.createElement('tr');
  row.append(
    nameCell(node),
    stateCell(node.state),
    gauge(
      node.cpuRatio,
      orDash(node.cpuRatio, (ratio) => `${Math.round(ratio * 100)} %`),
    ),
    used === null || !total
      ? element('td', '–')
      : gauge(used / total, `${gibibytes(used)} of ${gibibytes(total)} GiB`),
    element('td', orDash(node.guestCount, String), 'number'),
    element(
      'td',
      orDash(node.powerWatts, (watts) => `${Math.round(watts)} W`),
      'number',
    ),
    element('td', orDash(node.ageMs, ageText), 'number'),
  );
  return row;
}

function decisionOf({ at, cluster, outcome, summary }) {
  const item = document.createElement('li');
  const when = element('time', ageText(Math.max(0, Date.now() - Date.parse(at))), 'faint');
  when.dateTime = at;
  const head = element('span', '', 'head');
  head.append(when, element('span', cluster, 'faint'), element('span', outcome, 'outcome'));
  item.append(head, element('span', summary));
  return item;
}

async function awakeCount() {
  const { items } = await call('GET', 'clusters?limit=1000');
  return items.reduce((sum, { nodeStates }) => sum + (nodeStates.awake ?? 0), 0);
}

async function refresh() {
  const [nodes, guests, commands, decisions, hold, awake] = await Promise.all([
    call('GET', `nodes?limit=${shownNodesMax}`),
    call('GET', 'guests?limit=1'),
    call('GET', 'commands?limit=1'),
    call('GET', `decisions?limit=${shownDecisions}`),
    call('GET', 'hold'),
    awakeCount(),
  ]);
  byId('nodes-total').textContent = `${awake} of ${nodes.total}`;
  byId('guests-total').textContent = guests.total;
  byId('commands-total').textContent = commands.total;
  byId('hold').textContent = hold.all ? 'everything' : hold.clusters.join(', ') || 'nothing';
  byId('nodes').replaceChildren(...nodes.items.map(rowOf));
  byId('more').hidden = nodes.nextCursor === null;
  byId('more').textContent = `The first ${nodes.items.length} of ${nodes.total} nodes.`;
  byId('decisions').replaceChildren(...decisions.items.map(decisionOf));
  byId('no-decisions').hidden = decisions.items.length > 0;
}

let timer;

/** Of several callers only the last goes on: signing in anew must not leave two loops. */
async function watch() {
  clearTimeout(timer);
  const token = sessionStorage.getItem(storageKey);
  if (token === null) return;
  let problem = '';
  try {
    if (!document.hidden) await refresh();
  } catch (error) {
    if (error.status === 401) return sessionEnded(token);
    problem = messageOf(error);
  }
  if (sessionStorage.getItem(storageKey) !== token) return;
  notify(problem);
  clearTimeout(timer);
  timer = setTimeout(() => void watch(), refreshMs);
}

function sessionEnded(token) {
  if (sessionStorage.getItem(storageKey) !== token) return;
  sessionStorage.removeItem(storageKey);
  show('sign-in');
  notify('The session has ended. Sign in again.');
}

async function signIn(username, password) {
  const { token } = await call('POST', 'session', { username, password });
  sessionStorage.setItem(storageKey, token);
  show('status');
  await watch();
}

async function submit(form, run) {
  const button = form.querySelector('button');
  if (button.disabled) return;
  button.disabled = true;
  try {
    notify('');
    await run(Object.fromEntries(new FormData(form)));
    form.reset();
  } catch (error) {
    notify(messageOf(error));
    form.elements[error.problem?.field]?.focus();
  } finally {
    button.disabled = false;
  }
}

function onSubmit(id, run) {
  byId(id).addEventListener('submit', (event) => {
    event.preventDefault();
    void submit(event.target, run);
  });
}

onSubmit('setup', async ({ token, username, password }) => {
  await call('POST', 'setup', { token: token.trim(), username, password });
  await signIn(username, password);
});
onSubmit('sign-in', ({ username, password }) => signIn(username, password));

async function signOut() {
  await call('DELETE', 'session').catch(() => null);
  sessionStorage.removeItem(storageKey);
  notify('');
  show('sign-in');
}

byId('sign-out').addEventListener('click', () => void signOut());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void watch();
});

async function open() {
  if (sessionStorage.getItem(storageKey) !== null) {
    show('status');
    return watch();
  }
  try {
    const { isRequired } = await call('GET', 'setup');
    notify('');
    show(isRequired ? 'setup' : 'sign-in');
  } catch (error) {
    notify(messageOf(error));
    setTimeout(() => void open(), refreshMs);
  }
}

await open();
