#!/usr/bin/env node
// The command line runs from the sources; `tsx` strips the types.
import { register } from 'tsx/esm/api';

register();
await import('../cli/main.ts');
