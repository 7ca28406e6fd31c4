const GROUP_SIZES = [128, 64, 32] as const;

/**
 * The largest group size up to the wished one that divides the input width of every quantized layer; null when none does.
 * llm-compressor fails on any other ("unflatten: Provided sizes don't multiply up").
 */
export const groupSizeFor = (wished: number, widths: readonly number[]): number | null =>
  GROUP_SIZES.find((size) => size <= wished && widths.every((width) => width % size === 0)) ?? null;
