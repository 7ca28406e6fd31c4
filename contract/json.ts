/** Values that survive a JSON round trip, as history, event files and Postgres store them. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
