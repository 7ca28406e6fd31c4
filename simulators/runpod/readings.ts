/** What no public source settles, or sources tell differently; both readings can be had. */
export interface Readings {
  /**
   * `observed` = a v2 pod says RUNNING from the moment of its creation; `documented` = PROVISIONING until its container
   * starts and STARTING until its ports are listed.
   */
  podStatus: 'observed' | 'documented';
}

export const DEFAULT_READINGS: Readonly<Readings> = { podStatus: 'observed' };

/** Control planes that answer as if they had been retired, with this status. */
export interface Retired {
  graphql: false | 404 | 410;
  v2: false | 404 | 410;
}
