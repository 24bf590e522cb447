"""What figures.py writes into the two READMEs beside the numbers. Standard library only."""

TEXTS = {
    "README.md": {
        "gains": ("data", "task", "recipe", "network", "n = {}"),
        "gains_unit": "Gain in PSNR over the input and, in the second line, over the best classical method on the same "
                      "tiles; dB, means over all test tiles ({n}), with 95 % bootstrap intervals of the paired "
                      "differences. Where three draws (other tiles, other seeds) were run: the range of their gains. "
                      "{missing} of {all} experiments have not been run yet (—).",
        "budget": "Shortened runs: {budget:.0%} of the updates of a recipe, that is {updates}; the halved network "
                  "gets {faster} times as many, which takes it as long.",
        "warned": "{name}: {warning}.",
        "unverified": "Made from archives whose SHA-256 is not a published one: {names}.",
        "few": "{name}: {made:,} training tiles in the set, from {images:,} images{most}.",
        "most": "; n = {n:,} stands in the column 1,000",
        "scores": ("data", "recipe", "network", "input", "best classical", "n = {}"),
        "predecessor": "DIV2K of the predecessor, aliased input",
        "scores_unit": "PSNR in dB of the mean squared error over all tiles, as in the predecessor's table, and mean "
                       "SSIM. The predecessor's inputs were made with another filter and its tiles were others: its "
                       "row stands beside ours, it cannot be compared number by number.",
        "goals": ("difference of PSNR on the same test tiles",),
        "goal_rows": ("fewdata, n = 100, over paper, n = 100", "fewdata, n = 100, over paper, most tiles",
                      "fewdata, n = 10, over paper, most tiles", "fewdata, n = 10, over the best classical",
                      "fewdata, n = 100, over the best classical", "Inception-Unet, halved over the paper's network, "
                      "fewdata, n = 100, equal seconds", "self-ensemble over a single run, fewdata, n = 100"),
        "goals_unit": "dB, with 95 % intervals. The paper's network, unless said otherwise. Most tiles: 10,000 (mars), "
                      "799 (div2k).",
        "models": ("network", "parameters", "updates", "seconds", "{}"),
        "models_unit": "Mars、n = 100、レシピ fewdata。入力に対する差 (dB)、95 % 区間つき。更新回数は学習時間がほぼ等しく"
                   "なるように選んだ（results/benchmark_speed.json）。秒は最初のタスクの値で、別のジョブと並行した"
                   " 1 コアでの測定。",
    "ablation": ("fewdata からの変更", "{} {}"),
    "changes": {
        "dropout": "ドロップアウト 0.2", "mae": "平均絶対誤差", "no-symmetries": "回転・反転なし",
        "no-channels": "色チャネルの並べ替えなし", "no-crops": "タイル全体、バッチ 1",
        "no-schedule": "学習率一定", "no-averaging": "平均も選択もせず最後の重み",
        "no-standardising": "層の標準化なし", "no-fresh-noise": "ノイズ固定", "shrunk": "4 分の 1 のタイルを縮小",
    },
    "full": "なし: 入力に対する平均の差",
    "ablation_unit": "テストではなく検証用タイル（{n} 枚）。n = 100、{updates:,} 更新、幅は半分、種は 1 つ。最初の行は"
                     "入力に対する差 (dB)、他の行は変更による増減、タイルに関する 95 % 区間つき。",
    "sample": "`make run`: sample、n = {n}、{updates:,} 更新。バイキュービックより {gain} dB、"
              "{best} より {classical} dB。",
}
