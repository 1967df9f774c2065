/** Dark, light or as the system says; remembered on this device. */
import { effect, signal } from '@preact/signals';

export const themes = ['system', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const storageKey = 'kernreaktor-theme';
const kept = localStorage.getItem(storageKey);

export const theme = signal<Theme>(themes.find((name) => name === kept) ?? 'system');

effect(() => {
  localStorage.setItem(storageKey, theme.value);
  document.documentElement.dataset['theme'] = theme.value;
});

/** A colour of the style sheet, for what is drawn on a canvas. */
export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
