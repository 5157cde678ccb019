import * as vscode from 'vscode';

/** Of the documents that the server is told of. */
export const SCHEMES = ['file', 'untitled'];

/** Settings that concern only this client. */
const OWN = ['path', 'interpreter'];

/** What the user has chosen for the server. What he has not is left out: it may stand in the file for all editors. */
export function chosen(): Record<string, unknown> {
  const configuration = vscode.workspace.getConfiguration('dgemma');
  const names = Object.keys(configuration).filter((name) => configuration.has(name) && !OWN.includes(name));
  return Object.fromEntries(names.filter(isSet).map((name) => [name, configuration.get(name)]));

  function isSet(name: string): boolean {
    const found = configuration.inspect(name);
    return [found?.globalValue, found?.workspaceValue, found?.workspaceFolderValue].some((value) => value !== undefined);
  }
}

/** One of this client's own settings. */
export function own(name: 'path' | 'interpreter'): string {
  const value = vscode.workspace.getConfiguration('dgemma').get<string>(name, '').trim();
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  return folder ? value.replaceAll('${workspaceFolder}', folder) : value;
}

/** Whether a change is one after which another server may be the right one. */
export function choosesServer(change: vscode.ConfigurationChangeEvent): boolean {
  return OWN.some((name) => change.affectsConfiguration(`dgemma.${name}`));
}
