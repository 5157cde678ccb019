import * as path from 'node:path';
import * as vscode from 'vscode';

/** What is used of the Python extension's interface. */
interface PythonExtension {
  readonly environments: {
    readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
    resolveEnvironment(environment: {
      readonly path: string;
    }): Promise<{ readonly executable: { readonly uri?: vscode.Uri } } | undefined>;
  };
}

/** The Python of the active environment: what the Python extension says, else what VS Code was started in. */
export async function activePython(): Promise<string | undefined> {
  const environments = (await pythonExtension())?.environments;
  if (environments) {
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const resolved = await environments.resolveEnvironment(environments.getActiveEnvironmentPath(folder));
    if (resolved?.executable.uri) {
      return resolved.executable.uri.fsPath;
    }
  }
  const virtual = process.env['VIRTUAL_ENV'];
  const python = process.platform === 'win32' ? ['Scripts', 'python.exe'] : ['bin', 'python'];
  return virtual && path.join(virtual, ...python);
}

/** Calls back when another environment is chosen. */
export async function onActivePython(changed: () => void): Promise<vscode.Disposable | undefined> {
  return (await pythonExtension())?.environments.onDidChangeActiveEnvironmentPath(changed);
}

async function pythonExtension(): Promise<PythonExtension | undefined> {
  const extension = vscode.extensions.getExtension<PythonExtension>('ms-python.python');
  try {
    return await extension?.activate();
  } catch {
    // Its own trouble, and it says so itself.
    return undefined;
  }
}
