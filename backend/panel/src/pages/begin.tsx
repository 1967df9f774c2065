/**
 * How machines come in: three ways, each with an address of its own, so that it goes on after a
 * reload where it was. Nothing here acts on a machine; what comes in is only watched.
 */
import type { ComponentChildren } from 'preact';
import type { Ways } from '../../../http/routes/joining.ts';
import { call } from '../api.ts';
import { Answer, Empty, ProblemNote } from '../parts/feedback.tsx';
import { useForm } from '../parts/form.ts';
import { useQuery } from '../query.ts';
import { isAdmin, me } from '../session.ts';
import { AddHost } from './begin/host.tsx';
import { AddProxmox } from './begin/proxmox.tsx';

const Way = ({
  href,
  title,
  path,
  note,
  children,
}: {
  href: string;
  title: string;
  path: string;
  note: string;
  children: ComponentChildren;
}) => (
  <a class="card way" href={`#/begin/${href}`}>
    <svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true">
      <path d={path} />
    </svg>
    <h2>{title}</h2>
    <p>{children}</p>
    <small>{note}</small>
  </a>
);

const Choice = ({ ways }: { ways: Ways }) => (
  <div class="ways">
    {ways.proxmox && (
      <Way
        href="proxmox"
        title="A Proxmox cluster by API token"
        path="M5 4h14v6H5zM5 14h14v6H5zM8 7h.01M8 17h.01M12 10v4"
        note="Nothing is installed on your hosts"
      >
        An address and a token: every node and guest is here a few seconds later.
      </Way>
    )}
    <Way
      href="host"
      title="A node"
      path="M4 5h16v11H4zM9 20h6M12 16v4M7 9l2 2-2 2M12 13h4"
      note="Proxmox VE, LXD, or any Linux host"
    >
      One line to paste on the host. Its own daemon sees more, and may sleep and wake it.
    </Way>
    {ways.demo !== 'none' && (
      <Way
        href="demo"
        title="Look around in the demo"
        path="M12 5C7 5 3.5 9 2 12c1.500 3 5 7 10 7s8.500-4 10-7c-1.500-3-5-7-10-7zM12 9a3 3 0 100 6 3 3 0 000-6z"
        note="Simulated machines; a day passes in 24 minutes"
      >
        Three small clusters that live beside your own. Nothing real is touched.
      </Way>
    )}
  </div>
);

function Demo({ ways }: { ways: Ways }) {
  const { problem, isBusy, onSubmit } = useForm(async () => {
    await call('POST', 'joining/demo');
    window.location.hash = '/';
  });
  if (ways.demo === 'running') {
    return (
      <p class="card pad">
        The demo runs. <a href="#/">Look at its machines</a>
      </p>
    );
  }
  return (
    <form class="card pad narrow" onSubmit={onSubmit}>
      <p>
        Eleven simulated machines with their guests appear beside what is there: a homelab, a rack
        with Proxmox VE, a small office. They are marked as simulated, live sixty times as fast, and
        come back with every start of the server.
      </p>
      <p class="faint">
        For a demo that leaves no trace here, run <code>kernreaktor demo</code>: it has a data
        folder of its own.
      </p>
      {problem && <ProblemNote problem={problem} />}
      <button type="submit" disabled={isBusy}>
        {isBusy ? 'Starting …' : 'Start the demo'}
      </button>
    </form>
  );
}

const titles: Record<string, string> = {
  proxmox: 'A Proxmox cluster by API token',
  host: 'A node',
  demo: 'The demo',
};

const parts: Record<string, (ways: Ways) => ComponentChildren> = {
  proxmox: () => <AddProxmox />,
  host: (ways) => <AddHost ways={ways} />,
  demo: (ways) => <Demo ways={ways} />,
};

export function BeginPage({ way }: { way: string | undefined }) {
  const isAllowed = isAdmin.value && me.value?.clusters === null;
  const ways = useQuery<Ways>(isAllowed ? 'joining' : null);
  if (me.value !== null && !isAllowed) {
    return (
      <Empty title="An administrator lets machines in">
        <p>
          Your role may look at what is here. <a href="#/">To the fleet</a>
        </p>
      </Empty>
    );
  }
  const title = titles[way ?? ''];
  return (
    <>
      <div class="heading">
        {title && (
          <a class="back" href="#/begin">
            ← All ways
          </a>
        )}
        <h1>{title ?? 'What shall be watched?'}</h1>
      </div>
      {!title && (
        <p class="lead">
          Kernreaktor only watches at first. It acts when you say so, cluster by cluster.
        </p>
      )}
      <Answer of={ways} what="the ways in">
        {(found) => (title && parts[way ?? '']?.(found)) || <Choice ways={found} />}
      </Answer>
      {!title && (
        <p>
          <a href="#/">Not now: to the fleet</a>
        </p>
      )}
    </>
  );
}
