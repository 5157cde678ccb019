import * as vscode from 'vscode';
import { besideLines } from './canvas';

/** The canvas while it settles: the selection fades, and each draft stands beside its lines. */
export class CanvasView implements vscode.Disposable {
  private readonly faded = vscode.window.createTextEditorDecorationType({ opacity: '0.4' });
  private readonly beside = vscode.window.createTextEditorDecorationType({
    after: {
      color: new vscode.ThemeColor('editorGhostText.foreground'),
      fontStyle: 'italic',
      margin: '0 0 0 3ch',
    },
  });

  constructor(
    private readonly document: vscode.TextDocument,
    private readonly range: vscode.Range,
  ) {
    this.each((editor) => editor.setDecorations(this.faded, [range]));
  }

  show(draft: string): void {
    // A selection of whole lines ends at the start of the line after them.
    const last = this.range.end.character === 0 ? this.range.end.line - 1 : this.range.end.line;
    const lines = besideLines(draft, last - this.range.start.line + 1);
    const decorations = lines.map((contentText, index) => {
      const end = this.document.validatePosition(new vscode.Position(this.range.start.line + index, Number.MAX_SAFE_INTEGER));
      return { range: new vscode.Range(end, end), renderOptions: { after: { contentText } } };
    });
    this.each((editor) => editor.setDecorations(this.beside, decorations));
  }

  dispose(): void {
    this.faded.dispose();
    this.beside.dispose();
  }

  private each(work: (editor: vscode.TextEditor) => void): void {
    vscode.window.visibleTextEditors.filter(({ document }) => document === this.document).forEach(work);
  }
}
