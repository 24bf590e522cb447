"""What figures.py writes into the two READMEs beside the numbers. Standard library only."""

TEXTS = {
    "README.md": {
        "gains": ("data", "task", "recipe", "network", "n = {}"),
        "gains_unit": "Gain in PSNR over the input and, in the second line, over the best classical method on the same "
                      "tiles; dB, means over all test tiles ({n}), with 95 % bootstrap intervals of the paired "
                      "differences. Where several draws (other tiles, other seeds) were run: the range of their gains. "
                      "{missing} of {all} experiments have not been run yet (—).",
        "test": "{name}: {n:,} of {scenes} scenes",
        "budget": "Shortened runs: {budget:.0%} of the updates of a recipe, that is {updates}; the halved network "
                  "gets {faster} times as many, which take as long. So `paper` with 10,000 tiles sees {seen:,} of "
                  "them, once each.",
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
                      "fewdata, n = 100, equal seconds", "self-ensemble over a single run, Inception-Unet, "
                      "halved, fewdata, n = 100"),
        "goals_unit": "dB, with 95 % intervals. The paper's network, unless said otherwise. Most tiles: 10,000 (mars), "
                      "799 (div2k).",
        "models": ("network", "parameters", "learning rate", "updates", "seconds", "{}"),
        "models_unit": "Mars, n = 100, recipe fewdata: gain over the input in dB with 95 % intervals. The number of "
                       "updates is chosen so that all train for about the same time: the seconds are the updates times "
                       "the time of one, as results/benchmark_speed.json has it (one core, the other one busy). "
                       "The learning rates of the networks of the literature are the best of four on validation tiles "
                       "of x4, in runs a fifth as long (results/rates.json), for all tasks; the first two networks "
                       "take that of the recipe. For DnCNN these runs were too short to tell rates apart, and the "
                       "recipe's average of weights over about 200 updates is long for its few. One seed: draws of one "
                       "network differ by more than some networks do.",
        "ablation": ("change to fewdata", "{} {}"),
        "changes": {
            "adam": "Adam instead of Muon, 1e-3",
            "dropout": "dropout 0.2", "mse": "mean squared error", "no-symmetries": "no turning and mirroring",
            "no-channels": "no permuted channels", "no-crops": "whole tiles, batch 1, low-resolution grid fixed",
            "no-warmup": "no warm-up", "no-schedule": "constant learning rate, no warm-up",
            "no-clipping": "gradients not clipped", "no-identity": "not started as the identity",
            "no-averaging": "last weights, no averaging or choice",
            "no-standardising": "no standardised layers",
            "standardising-noise": "standardised layers for noise too", "no-fresh-degradation": "fixed inputs",
            "shrunk": "a quarter of the tiles shrunk",
        },
        "full": "none: mean gain over the input",
        "ablation_unit": "Validation tiles ({n}), not test tiles; n = 100, {updates:,} updates, half the width, one "
                         "seed. First row: gain over the input in dB. Other rows: what the change adds to it, with "
                         "95 % intervals.",
        "ablation_longer": "A run as long and as wide as those of the table of gains, for an ingredient that a "
                           "short run speaks against: {dataset} {task}, n = {n}, {updates:,} updates, {change}: "
                           "{difference} dB.",
        "sample": "`make run`: sample, n = {n}, {updates:,} updates: {gain} dB over bicubic, {classical} dB over "
                  "{best}.",
    },
}
TEXTS["README.ja.md"] = TEXTS["README.md"] | {
    "gains": ("データ", "タスク", "レシピ", "ネットワーク", "n = {}"),
    "gains_unit": "入力に対する PSNR の差、2 行目は最良の古典的手法に対する差。dB、全テストタイル（{n}）の平均、"
                  "対応のある差の 95 % ブートストラップ区間つき。抽出（別のタイルと種）が複数ある所はその範囲も示す。"
                  "全 {all} 実験のうち {missing} は未実行（—）。",
    "test": "{name}: {scenes} 場面の {n:,} 枚",
    "budget": "短縮した学習: 各レシピの更新回数の {budget:.0%}、すなわち {updates}。halved は同じ時間でできる "
              "{faster} 倍の回数。したがって 10,000 枚の `paper` は、うち {seen:,} 枚を 1 回ずつ見るだけである。",
    "warned": "{name}: プログラムの警告 “{warning}”。",
    "unverified": "SHA-256 を公開値で確かめられないアーカイブから作成: {names}。",
    "few": "{name}: 学習タイルは {made:,} 枚、画像 {images:,} 枚から作成{most}。",
    "most": "。n = {n:,} は 1,000 の列に示す",
    "scores": ("データ", "レシピ", "ネットワーク", "入力", "古典的手法の最良", "n = {}"),
    "predecessor": "前身の DIV2K（エイリアスのある入力）",
    "scores_unit": "PSNR (dB) は前身の表と同じく全タイルの平均二乗誤差から求め、SSIM は平均。前身の入力は別のフィルタで"
                   "作られ、タイルも異なるため、数値どうしの比較はできない。",
    "goals": ("同じテストタイルでの PSNR の差",),
    "goal_rows": ("fewdata n = 100 − paper n = 100", "fewdata n = 100 − paper 最多タイル",
                  "fewdata n = 10 − paper 最多タイル", "fewdata n = 10 − 古典的手法の最良",
                  "fewdata n = 100 − 古典的手法の最良",
                  "Inception-Unet, halved − 論文のネットワーク（fewdata n = 100、同じ学習時間）",
                  "自己アンサンブル − 単独（Inception-Unet, halved、fewdata n = 100）"),
    "goals_unit": "dB、95 % 区間つき。特に断らない限り論文のネットワーク。最多タイル: mars 10,000、div2k 799。",
    "models": ("ネットワーク", "パラメータ数", "学習率", "更新回数", "秒", "{}"),
    "models_unit": "Mars、n = 100、レシピ fewdata。入力に対する差 (dB)、95 % 区間つき。更新回数は学習時間が"
                   "ほぼ等しくなるように選んだ。秒は更新回数に 1 回の時間（results/benchmark_speed.json、"
                   "もう 1 つのコアも使用中の 1 コアでの測定）を掛けた値。文献のネットワークの学習率は"
                   "x4 の検証用タイルで、5 分の 1 の長さの学習により 4 つから選び（results/rates.json）、"
                   "全タスクに用いた。最初の 2 つはレシピの値。DnCNN ではこの学習が短すぎて学習率の差が見えず、"
                   "レシピの約 200 更新にわたる重みの平均も、更新の少ない DnCNN には長い。"
                   "種は 1 つ。ネットワーク間の差には、同じネットワークの抽出間の差より小さいものがある。",
    "ablation": ("fewdata からの変更", "{} {}"),
    "changes": {
        "adam": "Muon の代わりに Adam、1e-3",
        "dropout": "ドロップアウト 0.2", "mse": "平均二乗誤差", "no-symmetries": "回転・反転なし",
        "no-channels": "色チャネルの並べ替えなし", "no-crops": "タイル全体、バッチ 1、低解像度の格子は固定",
        "no-warmup": "ウォームアップなし", "no-schedule": "学習率一定、ウォームアップなし",
        "no-clipping": "勾配クリップなし", "no-identity": "恒等写像から始めない",
        "no-averaging": "平均も選択もせず最後の重み",
        "no-standardising": "層の標準化なし", "standardising-noise": "ノイズでも層を標準化",
        "no-fresh-degradation": "入力固定", "shrunk": "4 分の 1 のタイルを縮小",
    },
    "full": "なし: 入力に対する平均の差",
    "ablation_unit": "テストではなく検証用タイル（{n} 枚）。n = 100、{updates:,} 更新、幅は半分、種は 1 つ。最初の行は"
                     "入力に対する差 (dB)、他の行は変更による増減、95 % 区間つき。",
    "ablation_longer": "短い学習では無い方がよく見えたものを、性能の表と同じ長さと幅で確かめた結果: "
                       "{dataset} {task}、n = {n}、{updates:,} 更新、{change}: {difference} dB。",
    "sample": "`make run`: sample、n = {n}、{updates:,} 更新。バイキュービックより {gain} dB、"
              "{best} より {classical} dB。",
}
