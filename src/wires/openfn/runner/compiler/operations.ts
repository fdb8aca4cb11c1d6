import { child, children, isFunction, list, type Node, nameOf } from './ast.js';
import type { Edits } from './edits.js';

/** Calls of these are not operations: their arguments are evaluated at once. */
const builtIns = new Set(
  'Array BigInt Boolean Date Error Intl JSON Map Math Number Object Promise RegExp Set String Symbol decodeURIComponent encodeURIComponent isNaN parseFloat parseInt'.split(
    ' ',
  ),
);

/**
 * Rewrites `$.a.b` in an argument of an operation to `state.a.b` and wraps the argument in a function of the state. Throws a SyntaxError
 * outside of an argument.
 */
export function openState(program: Node, edits: Edits): void {
  const wrapped = new Set<Node>();
  const visit = (node: Node, path: readonly (readonly [member: string, node: Node])[]) => {
    if (node.type === 'MemberExpression' && nameOf(child(node, 'object')) === '$') {
      const object = child(node, 'object');
      if (object !== undefined) edits.replace(object.start, object.end, 'state');
      const argument = argumentAround(node, path);
      if (argument !== undefined) wrapped.add(argument);
    }
    for (const [member, below] of children(node)) visit(below, [...path, [member, node]]);
  };
  visit(program, []);
  for (const { start, end } of wrapped) {
    edits.insert(start, 'state => (');
    edits.insert(end, ')');
  }
}

/** Returns the argument that contains `node`; undefined if an enclosing function has the state as a parameter already. */
function argumentAround(node: Node, path: readonly (readonly [member: string, node: Node])[]): Node | undefined {
  let inner = node;
  for (const [member, outer] of [...path].reverse()) {
    if (outer.type === 'CallExpression' && member === 'arguments' && isOperation(outer)) return inner;
    if (isFunction(outer) && list(outer, 'params').some((param) => nameOf(param) === 'state')) return undefined;
    if (outer.type.endsWith('Statement') || outer.type.endsWith('Declaration') || outer.type === 'Program') break;
    inner = outer;
  }
  throw new SyntaxError('invalid state operator: $ must be inside an argument of an operation');
}

function isOperation(call: Node): boolean {
  const callee = child(call, 'callee');
  let root = callee;
  while (root?.type === 'MemberExpression') root = child(root, 'object');
  const name = nameOf(root);
  return name !== undefined && name !== '$' && name !== 'state' && !builtIns.has(name);
}

/**
 * Defers `operation.then(a)` and `operation.catch(b)` outside of functions: an operation is a function of the state, so there is no promise
 * until it runs. A first `catch` also receives the state. Returns whether there were any.
 */
export function deferPromises(statements: readonly Node[], edits: Edits, defer: string): boolean {
  let any = false;
  const visit = (node: Node) => {
    if (isFunction(node)) return;
    const links: Node[] = [];
    let base: Node | undefined = node;
    while (base !== undefined && isLink(base)) {
      links.unshift(base);
      base = child(child(base, 'callee') ?? base, 'object');
    }
    if (links.length === 0 || base?.type !== 'CallExpression') {
      for (const [, below] of children(node)) visit(below);
      return;
    }
    any = true;
    const [first = base] = links;
    const handler = linkName(first) === 'catch' ? list(first, 'arguments')[0] : undefined;
    const chained = handler === undefined ? links.length : links.length - 1;
    if (handler !== undefined) {
      edits.insert(base.start, `${defer}(`);
      edits.replace(base.end, handler.start, ', undefined, ');
      edits.replace(handler.end, first.end, ')');
    }
    if (chained > 0) {
      edits.insert(base.start, `${defer}(`);
      edits.insert(handler === undefined ? base.end : first.end, ', p => p');
      edits.insert(node.end, ')');
    }
    for (const [, below] of children(base)) visit(below);
  };
  for (const statement of statements) visit(statement);
  return any;
}

const linkName = (node: Node) => {
  const callee = child(node, 'callee');
  return callee?.type === 'MemberExpression' && callee['computed'] !== true ? nameOf(child(callee, 'property')) : undefined;
};

function isLink(node: Node): boolean {
  const name = linkName(node);
  return node.type === 'CallExpression' && (name === 'then' || name === 'catch');
}
