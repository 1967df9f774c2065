/** One step of a guide: done, to be done now, or later. */
import type { ComponentChildren } from 'preact';

export const Step = ({
  number,
  title,
  state,
  children,
}: {
  number: number;
  title: string;
  state: 'done' | 'now' | 'later';
  children: ComponentChildren;
}) => (
  <li class="card pad step" data-state={state}>
    <h2>
      <span class="step-number" aria-hidden="true">
        {state === 'done' ? '✓' : number}
      </span>
      {title}
    </h2>
    {children}
  </li>
);
