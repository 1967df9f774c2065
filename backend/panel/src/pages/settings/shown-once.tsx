/** A secret or command that is shown once, with a button that copies it. */
import { useState } from 'preact/hooks';

export function ShownOnce({ label, text, hint }: { label: string; text: string; hint: string }) {
  const [isCopied, setCopied] = useState(false);
  // Without TLS browsers give no clipboard; then the text is there to be marked by hand.
  const canCopy = 'clipboard' in navigator;
  return (
    <div class="card pad once">
      <p>
        <strong>{label}</strong> <span class="faint">{hint}</span>
      </p>
      <pre class="mono">{text}</pre>
      {canCopy && (
        <button
          type="button"
          class="quiet small"
          onClick={() =>
            void navigator.clipboard.writeText(text).then(
              () => setCopied(true),
              () => setCopied(false),
            )
          }
        >
          {isCopied ? 'Copied' : 'Copy'}
        </button>
      )}
    </div>
  );
}
