/** What narrows a list: a search, and choices of which the first is everything. */

type Choosing = { value: string; set: (value: string) => void };

/** `by`: what is searched, where that is not plain. */
export const Search = ({
  what,
  by = what,
  value,
  set,
}: Choosing & { what: string; by?: string }) => (
  <input
    type="search"
    placeholder={`Search ${by}`}
    aria-label={`Search ${what}`}
    value={value}
    onInput={(event) => set(event.currentTarget.value)}
  />
);

export const Choice = ({
  label,
  value,
  options,
  textOf = (option) => option,
  set,
}: Choosing & {
  label: string;
  options: readonly string[];
  textOf?: (option: string) => string;
}) => (
  <select aria-label={label} value={value} onChange={(event) => set(event.currentTarget.value)}>
    <option value="">every {label.toLowerCase()}</option>
    {options.map((option) => (
      <option key={option} value={option}>
        {textOf(option)}
      </option>
    ))}
  </select>
);
