import { parse as parseModule } from 'acorn';

/** A node of acorn's syntax tree (ESTree), with offsets into the source. */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}

/** Throws a SyntaxError with line and column. */
export function parse(source: string): Node {
  return parseModule(source, { ecmaVersion: 'latest', sourceType: 'module' }) as unknown as Node;
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Node>).type === 'string';
}

/** Yields the direct children of a node, each with the name of the member that holds it. */
export function* children(node: Node): Generator<readonly [member: string, child: Node]> {
  for (const [member, value] of Object.entries(node)) {
    if (isNode(value)) yield [member, value];
    else if (Array.isArray(value)) for (const each of value) if (isNode(each)) yield [member, each];
  }
}

export function child(node: Node, member: string): Node | undefined {
  const value = node[member];
  return isNode(value) ? value : undefined;
}

export function list(node: Node, member: string): readonly Node[] {
  const value = node[member];
  return Array.isArray(value) ? value.filter(isNode) : [];
}

export function isFunction({ type }: Node): boolean {
  return type === 'ArrowFunctionExpression' || type === 'FunctionExpression' || type === 'FunctionDeclaration';
}

export function nameOf(node: Node | undefined): string | undefined {
  return node?.type === 'Identifier' ? String(node['name']) : undefined;
}
