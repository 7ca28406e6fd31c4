/** One line of progress. `local/` has no terminal: whoever calls decides how a line is shown. */
export interface ReportLine {
  component: string;
  message: string;
  /** True on the last line of this component: it is ready. */
  done?: boolean;
}

export type Report = (line: ReportLine) => void;
