/** Options as a program passes them, with null members removed: queue-xec's own defaults are null. */
export type WithoutNull<T extends object> = { readonly [K in keyof T]: Exclude<T[K], null> };

/** Returns the members that are not null. */
export function omitNull<T extends object>(options: T): WithoutNull<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null)) as WithoutNull<T>;
}

/** Returns the members that are not undefined, for parameters whose optional members must be absent. */
export function omitUndefined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
