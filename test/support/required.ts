/** An environment variable that the preparation sets; its absence is a fault of the setup, not a reason to skip. */
export function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set; run: npm run test:prepare`);
  return value;
}
