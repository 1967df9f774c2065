/**
 * What a person can do to a node or guest: a button for each command that its driver offers, a
 * dialog that says in words what will happen, and one way to send it. The server judges it; a
 * refusal stands in the dialog with its way out.
 */
import type { ComponentChildren } from 'preact';
import type { GuestView, NodeView } from '../../http/views.ts';
import { submitCommand } from './api.ts';
import { counted } from './format.ts';
import { nodes } from './live.ts';
import { Targets } from './pages/guest/migrate.tsx';
import { ask, Field, TypedWord, type Values } from './parts/dialog.tsx';
import { toast } from './parts/feedback.tsx';
import { mayAct } from './session.ts';

type Order = { cluster: string; kind: string; node: string; guest?: string; args?: object };

async function send(order: Order, reason: string | undefined): Promise<void> {
  const { id } = await submitCommand({ ...order, ...(reason ? { reason } : {}) });
  toast(`${order.kind} is on its way.`, { href: `#/activity/${id}`, kind: 'good' });
}

type Deed = {
  kind: string;
  name: string;
  says: ComponentChildren;
  isDangerous?: boolean;
  fields?: ComponentChildren;
  argsOf?: (values: Values) => object;
};

const Reason = () => (
  <Field label="Reason (optional)">
    <input name="reason" maxLength={512} autocomplete="off" />
  </Field>
);

function DeedButton({ deed, order }: { deed: Deed; order: Omit<Order, 'kind'> }) {
  const { kind, name, says, isDangerous = false, fields, argsOf } = deed;
  const subject = order.guest ?? order.node;
  return (
    <button
      type="button"
      class={isDangerous ? 'quiet danger-text' : 'quiet'}
      onClick={() =>
        ask({
          title: `${name} ${subject}`,
          confirm: name,
          isDangerous,
          body: (
            <>
              <p>{says}</p>
              {fields}
              <Reason />
            </>
          ),
          run: (values) =>
            send({ ...order, kind, ...(argsOf ? { args: argsOf(values) } : {}) }, values['reason']),
        })
      }
    >
      {name}
    </button>
  );
}

function Buttons({
  deeds,
  order,
  can,
  children,
}: {
  deeds: readonly Deed[];
  order: Omit<Order, 'kind'>;
  can: readonly string[];
  /** What may be done beside commands. */
  children?: ComponentChildren;
}) {
  if (!mayAct.value) return <p class="faint">Your role may look, not act.</p>;
  const offered = deeds.filter(({ kind }) => can.includes(kind) || kind === 'node.wake');
  return (
    <div class="buttons start">
      {offered.length === 0 && <p class="faint">The driver of this node offers no action.</p>}
      {offered.map((deed) => (
        <DeedButton key={deed.name} deed={deed} order={order} />
      ))}
      {children}
    </div>
  );
}

function nodeDeeds(node: NodeView): Deed[] {
  const guests = counted(node.guestCount ?? 0, 'guest');
  if (node.state === 'asleep') {
    const says = `${node.id} is switched on by whoever can reach it, and is awake when it says so itself.`;
    return [{ kind: 'node.wake', name: 'Wake', says }];
  }
  return [
    {
      kind: 'node.drain',
      name: 'Drain of HA',
      says: `The hypervisor's own HA moves what it manages away from ${node.id}; every other guest stays. To empty it whole, take Maintenance.`,
    },
    {
      kind: 'node.restore',
      name: 'Give back to HA',
      says: `The hypervisor's own HA may use ${node.id} again.`,
    },
    {
      kind: 'node.shutdown',
      name: 'Sleep',
      isDangerous: true,
      says: `${node.id} is shut down and its power is off until it is woken. It has ${guests}; it is refused when one of them would be lost, when quorum or storage need the node, or when nobody has proven how to wake it.`,
      argsOf: () => ({ mode: 'poweroff' }),
    },
    {
      kind: 'node.reboot',
      name: 'Reboot',
      isDangerous: true,
      says: `${node.id} restarts; its ${guests} are down until it is back.`,
    },
  ];
}

type NodeActionsProps = {
  node: NodeView;
  can: readonly string[];
  children?: ComponentChildren;
};

export const NodeActions = ({ node, can, children }: NodeActionsProps) => (
  <Buttons deeds={nodeDeeds(node)} order={{ cluster: node.cluster, node: node.id }} can={can}>
    {children}
  </Buttons>
);

function scaleDeed(guest: GuestView): Deed {
  const memoryMiB =
    guest.memoryTotalBytes === null ? '' : String(Math.round(guest.memoryTotalBytes / 2 ** 20));
  return {
    kind: 'guest.scale',
    name: 'Scale',
    says: `${guest.name} gets what is set here, without a restart where its hypervisor can.`,
    fields: (
      <>
        <Field label="Cpus">
          <input
            name="cpuCount"
            type="number"
            min={1}
            max={8_192}
            defaultValue={guest.cpuCount ?? ''}
          />
        </Field>
        <Field label="Memory, MiB">
          <input name="memoryMiB" type="number" min={16} defaultValue={memoryMiB} />
        </Field>
      </>
    ),
    argsOf: ({ cpuCount = '', memoryMiB: memory = '' }) => ({
      ...(cpuCount === '' || Number(cpuCount) === guest.cpuCount
        ? {}
        : { cpuCount: Number(cpuCount) }),
      ...(memory === '' || memory === memoryMiB ? {} : { memoryBytes: Number(memory) * 2 ** 20 }),
    }),
  };
}

function guestDeeds(guest: GuestView): Deed[] {
  const { name } = guest;
  const always: Deed[] = [
    {
      kind: 'guest.snapshot',
      name: 'Snapshot',
      says: `The state of ${name} now is kept under a name.`,
      fields: (
        <Field
          label="Name of the snapshot"
          hint="Letters, digits, _ and -, beginning with a letter"
        >
          <input name="name" required pattern="[A-Za-z][A-Za-z0-9_\-]{0,39}" autocomplete="off" />
        </Field>
      ),
      argsOf: ({ name: snapshot }) => ({ name: snapshot }),
    },
    scaleDeed(guest),
    {
      kind: 'guest.migrate',
      name: 'Migrate',
      says:
        guest.state === 'running'
          ? `${name} moves away from ${guest.node} while it runs; whoever uses it notices at most a moment. What its hypervisor cannot move so is refused.`
          : `${name} moves away from ${guest.node} and stays off.`,
      fields: <Targets guest={guest} />,
      argsOf: ({ targetNode }) => ({ targetNode }),
    },
  ];
  if (guest.state !== 'running') {
    const isAsleep = nodes.get(`${guest.cluster}/${guest.node}`)?.value.state === 'asleep';
    return [
      {
        kind: 'guest.start',
        name: 'Start',
        says: `${name} starts on ${guest.node}${isAsleep ? ', which is woken for it first' : ''}.`,
      },
      ...always,
      {
        kind: 'guest.delete',
        name: 'Delete',
        isDangerous: true,
        says: `${name} is deleted from ${guest.node} with its disks and snapshots. Nothing here brings it back.`,
        fields: <TypedWord word={guest.id} />,
      },
    ];
  }
  return [
    {
      kind: 'guest.stop',
      name: 'Stop',
      isDangerous: true,
      says: `${name} is asked to shut down cleanly and stays off.`,
    },
    {
      kind: 'guest.restart',
      name: 'Restart',
      isDangerous: true,
      says: `${name} shuts down and starts again; whoever uses it is cut off meanwhile.`,
    },
    ...always,
  ];
}

export const GuestActions = ({ guest, can }: { guest: GuestView; can: readonly string[] }) => (
  <Buttons
    deeds={guestDeeds(guest)}
    order={{ cluster: guest.cluster, node: guest.node, guest: guest.id }}
    can={can}
  />
);
