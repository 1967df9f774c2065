/**
 * The status page: set up once, sign in, then watch. It talks to the API that everyone uses, and
 * keeps the session token in this tab only. Text from the server is set as text, never as HTML.
 */
const storageKey = 'kernreaktor-session';
const refreshMs = 5_000;
const shownNodesMax = 200;

const byId = (id) => document.getElementById(id);
const views = ['setup', 'sign-in', 'status'];

function show(view) {
  for (const id of views) byId(id).hidden = id !== view;
  byId('sign-out').hidden = view !== 'status';
}

function notify(text) {
  byId('notice').textContent = text;
  byId('notice').hidden = text === '';
}

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

const percent = (ratio) => (ratio === null ? '–' : `${Math.round(ratio * 100)} %`);
const gibibytes = (bytes) => (bytes === null ? '–' : (bytes / 2 ** 30).toFixed(1));
const seconds = (ms) => (ms === null ? '–' : `${Math.round(ms / 1_000)} s`);

function rowOf(node) {
  const row = document.createElement('tr');
  const memory = `${gibibytes(node.memoryUsedBytes)} / ${gibibytes(node.memoryTotalBytes)} GiB`;
  const cells = [
    `${node.cluster}/${node.id}`,
    node.state,
    percent(node.cpuRatio),
    memory,
    node.guestCount ?? '–',
    seconds(node.ageMs),
  ];
  for (const [index, text] of cells.entries()) {
    const cell = document.createElement('td');
    cell.textContent = text;
    if (index === 1) cell.dataset.state = node.state;
    row.append(cell);
  }
  return row;
}

async function refresh() {
  const [nodes, guests, commands, hold] = await Promise.all([
    call('GET', `nodes?limit=${shownNodesMax}`),
    call('GET', 'guests?limit=1'),
    call('GET', 'commands?limit=1'),
    call('GET', 'hold'),
  ]);
  byId('nodes-total').textContent = nodes.total;
  byId('guests-total').textContent = guests.total;
  byId('commands-total').textContent = commands.total;
  byId('hold').textContent = hold.all ? 'everything' : hold.clusters.join(', ') || 'none';
  byId('nodes').replaceChildren(...nodes.items.map(rowOf));
  byId('more').hidden = nodes.nextCursor === null;
  byId('more').textContent = `The first ${nodes.items.length} of ${nodes.total} nodes.`;
}

async function watch() {
  if (sessionStorage.getItem(storageKey) === null) return;
  try {
    if (!document.hidden) await refresh();
    notify('');
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem(storageKey);
      show('sign-in');
      return;
    }
    notify(error.status ? error.message : 'The server does not answer.');
  }
  setTimeout(() => void watch(), refreshMs);
}

async function signIn(username, password) {
  const { token } = await call('POST', 'session', { username, password });
  sessionStorage.setItem(storageKey, token);
  show('status');
  await watch();
}

async function submit(form, run) {
  try {
    notify('');
    await run(Object.fromEntries(new FormData(form)));
    form.reset();
  } catch (error) {
    const { wayOut } = error.problem ?? {};
    notify([error.message, wayOut].filter(Boolean).join(' '));
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
  show('sign-in');
}

byId('sign-out').addEventListener('click', () => void signOut());

if (sessionStorage.getItem(storageKey) === null) {
  const { isRequired } = await call('GET', 'setup');
  show(isRequired ? 'setup' : 'sign-in');
} else {
  show('status');
  await watch();
}
