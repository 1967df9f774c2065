/**
 * `kernreaktor completion bash|zsh|fish`: a script for the shell, made from the commands themselves,
 * so that it never lacks one.
 */
import type { Command } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

type Words = { path: string; words: string[] };

function wordsOf(command: Command, path: string): Words[] {
  const subs = command.commands;
  const flags = command.options.flatMap(({ long }) => (long ? [long] : []));
  const own = { path, words: [...subs.map((one) => one.name()), ...flags, '--help'] };
  const below = subs.flatMap((one) => wordsOf(one, `${path} ${one.name()}`.trim()));
  return [own, ...below];
}

const forBash = (all: readonly Words[]): string => `_kernreaktor() {
  local path="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  local words=""
  case "$path" in
${all.map(({ path, words }) => `    "${path}") words="${words.join(' ')}" ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _kernreaktor kernreaktor`;

const forFish = (all: readonly Words[]): string =>
  all
    .flatMap(({ path, words }) => {
      const seen = path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path}`;
      return words.map((word) =>
        word.startsWith('--')
          ? `complete -c kernreaktor -n '${seen}' -l ${word.slice(2)}`
          : `complete -c kernreaktor -f -n '${seen}' -a ${word}`,
      );
    })
    .join('\n');

export function completionScript(program: Command, shell: Shell): string {
  const all = wordsOf(program, '');
  if (shell === 'fish') return forFish(all);
  const bash = forBash(all);
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}
