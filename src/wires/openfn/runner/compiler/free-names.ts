import { child, children, isFunction, list, type Node, nameOf } from './ast.js';

/** Returns the names that a module uses but does not declare, following JavaScript's scoping rules. */
export function freeNames(program: Node): Set<string> {
  const free = new Set<string>();
  visit(program, [declaredIn(list(program, 'body'), true)], free);
  return free;
}

type Scopes = readonly ReadonlySet<string>[];

function visit(node: Node, scopes: Scopes, free: Set<string>): void {
  const name = nameOf(node);
  if (name !== undefined && !scopes.some((scope) => scope.has(name))) free.add(name);
  const inner = scopeOf(node);
  const seen = inner === undefined ? scopes : [...scopes, inner];
  for (const [member, below] of children(node)) if (isReference(node, member)) visit(below, seen, free);
}

/** False for names that are not variables: properties, keys, labels, and the other name of an import or export. */
function isReference(node: Node, member: string): boolean {
  switch (node.type) {
    case 'MemberExpression':
      return member !== 'property' || node['computed'] === true;
    case 'Property':
    case 'MethodDefinition':
    case 'PropertyDefinition':
      // The key and value of a shorthand are the same name; the value counts.
      return member !== 'key' || node['computed'] === true;
    case 'LabeledStatement':
    case 'BreakStatement':
    case 'ContinueStatement':
      return member !== 'label';
    case 'ImportSpecifier':
    case 'ImportDefaultSpecifier':
    case 'ImportNamespaceSpecifier':
    case 'MetaProperty':
      return false;
    case 'ExportSpecifier':
      return member === 'local';
    case 'ExportNamedDeclaration':
      return member !== 'specifiers' || child(node, 'source') === undefined;
    default:
      return true;
  }
}

function scopeOf(node: Node): ReadonlySet<string> | undefined {
  if (isFunction(node)) {
    const names = new Set(list(node, 'params').flatMap(patternNames));
    names.add('arguments');
    const own = nameOf(child(node, 'id'));
    if (own !== undefined) names.add(own);
    const body = child(node, 'body');
    if (body?.type === 'BlockStatement') for (const name of declaredIn(list(body, 'body'), true)) names.add(name);
    return names;
  }
  switch (node.type) {
    case 'BlockStatement':
    case 'StaticBlock':
      return declaredIn(list(node, 'body'), false);
    case 'SwitchStatement':
      return declaredIn(
        list(node, 'cases').flatMap((each) => list(each, 'consequent')),
        false,
      );
    case 'ForStatement':
    case 'ForInStatement':
    case 'ForOfStatement': {
      const head = child(node, 'init') ?? child(node, 'left');
      return head === undefined ? undefined : declaredIn([head], false);
    }
    case 'CatchClause':
      return new Set(patternNames(child(node, 'param')));
    case 'ClassExpression':
      return new Set(patternNames(child(node, 'id')));
    default:
      return undefined;
  }
}

/** Returns the names that statements declare; with `hoist`, including each nested `var`. */
function declaredIn(statements: readonly Node[], hoist: boolean): Set<string> {
  const names = new Set<string>();
  const add = (found: readonly string[]) => {
    for (const name of found) names.add(name);
  };
  for (const statement of statements) {
    const declaration = statement.type.startsWith('Export') ? (child(statement, 'declaration') ?? statement) : statement;
    if (declaration.type === 'VariableDeclaration') add(variableNames(declaration));
    else if (declaration.type === 'ImportDeclaration')
      add(list(declaration, 'specifiers').flatMap((each) => patternNames(child(each, 'local'))));
    else if (declaration.type === 'FunctionDeclaration' || declaration.type === 'ClassDeclaration')
      add(patternNames(child(declaration, 'id')));
    if (hoist) add(hoistedVars(declaration));
  }
  return names;
}

function hoistedVars(node: Node): string[] {
  if (isFunction(node)) return [];
  const own = node.type === 'VariableDeclaration' && node['kind'] === 'var' ? variableNames(node) : [];
  return [...own, ...[...children(node)].flatMap(([, below]) => hoistedVars(below))];
}

const variableNames = (declaration: Node) => list(declaration, 'declarations').flatMap((each) => patternNames(child(each, 'id')));

/** Returns the names that a pattern binds. */
export function patternNames(pattern: Node | undefined): string[] {
  if (pattern === undefined) return [];
  switch (pattern.type) {
    case 'Identifier':
      return [String(pattern['name'])];
    case 'ObjectPattern':
      return list(pattern, 'properties').flatMap((each) => patternNames(child(each, each.type === 'RestElement' ? 'argument' : 'value')));
    case 'ArrayPattern':
      return list(pattern, 'elements').flatMap(patternNames);
    case 'AssignmentPattern':
      return patternNames(child(pattern, 'left'));
    case 'RestElement':
      return patternNames(child(pattern, 'argument'));
    default:
      return [];
  }
}
