"""What the page says, in English and Japanese: the same keys in both."""

EN = {
    "language": "English",
    "title": "Restore an image",
    "lead": "Sharper, larger, less noisy: drop an image, look at what a network makes of it, keep it. "
            "Nothing leaves the machine that this page runs on, and your files are removed from it after an hour.",
    "drop": "Your image",
    "accepted": "PNG, JPEG, TIFF, WebP, BMP, .npy, .npz; 8 or 16 bits, float; up to {megabytes} MB and, when it is "
                "restored, {megapixels} megapixels.",
    "network": "Network",
    "mode": "Your image is",
    "small": "small: make it {scale} times as large",
    "large": "large already, but blurred: keep its size",
    "strength": "Strength, %",
    "trust": "Show which pixels to doubt (takes 8 times as long)",
    "restore": "Restore",
    "input": "Your image",
    "compare": "Left before, right after: move the slider; zoom with the wheel or two fingers, or see it full screen.",
    "download": "Download the restored image",
    "trust_map": "Which pixels to doubt: the bright ones",
    "welcome": "1. Drop an image.\n2. Its noise is estimated, and a network that suits it is proposed.\n"
               "3. Press *Restore*, compare, and download the result: a file of the same kind.",
    "enlarges": "enlarges by {scale}",
    "denoises": "removes noise, sigma {noise}",
    "deblurs": "removes blur",
    "does_pairs": "learned from pairs",
    "own_run": "your training",
    "noise_about": "Noise of about {noise} is estimated.",
    "noise_at_most": "Noise of at most {noise} is estimated: fine texture counts as noise here.",
    "noise_unknown": "Too little of it is seen to estimate its noise.",
    "of_range": "{percent} of the range",
    "gray_levels": "{levels} gray levels",
    "proposed": "`{name}` suits it and is chosen; take another one if you like.",
    "none_suits": "No network here suits an image like this: expect little.",
    "unsuited_noise": "The network was trained for noise of {trained}: expect {consequence}.",
    "unsuited_noise_free": "The network was trained for images without noise: expect {consequence}.",
    "harm": "harm",
    "lost detail": "lost detail",
    "some of it to stay": "some of it to stay",
    "unsuited_sharp": "It is sharp, and the network was trained for blurred images: expect harm.",
    "unsuited_large": "It is sharp, and what is chosen is for an image that was enlarged by {scale} and is blurred: "
                      "say that yours is small.",
    "unsuited_enlarged": "Nothing finer than {scale} pixels is seen: if it has been enlarged already, say that it is "
                         "large and blurred.",
    "stretched": "Shown with more contrast than it has; the file keeps its own values.",
    "reduced": "Shown at 1/{step} of its size; the file has all its pixels.",
    "done": "{width} × {height} pixels in {seconds:.0f} s.",
    "unusable": "This file {reason}.",
    "none_yet": "Drop an image first.",
    "choose": "Choose a network.",
    "gone": "The image has been removed from this machine, as all are after an hour: drop it again.",
    "no_network": "There is no such network here any more: load the page again and choose another one.",
    "wrong_type": "Files of this kind cannot be restored: give one of {suffixes}.",
    "several_pages": "It has {pages} pages and the page takes one picture: save the one that you want as a file of its "
                     "own, or use the command line: `python3 inception2.py restore FILE --pages`.",
    "too_large": "This is too much for the page: an image may have {megapixels} megapixels when it is restored. Cut "
                 "it, or use the command line, which has no limit: `python3 inception2.py restore FILE`.",
    "too_many_bytes": "The file is larger than {megabytes} MB: use the command line, which has no limit: `python3 "
                      "inception2.py restore FILE`.",
}

JA = {
    "language": "日本語",
    "title": "画像を復元する",
    "lead": "より鮮明に、より大きく、ノイズを少なく。画像をドロップして、ネットワークの復元結果を見比べ、保存できます。"
            "画像はこのページを動かしているマシンの外に送られず、1 時間後に消去されます。",
    "drop": "画像",
    "accepted": "PNG、JPEG、TIFF、WebP、BMP、.npy、.npz。8・16 ビット、浮動小数点。{megabytes} MB まで、"
                "復元後の大きさは {megapixels} メガピクセルまで。",
    "network": "ネットワーク",
    "mode": "この画像は",
    "small": "小さい: {scale} 倍に拡大する",
    "large": "拡大済みで、ぼけている: 大きさは変えない",
    "strength": "強さ（%）",
    "trust": "疑わしい画素を示す（8 倍の時間がかかる）",
    "restore": "復元する",
    "input": "元の画像",
    "compare": "左が復元前、右が復元後です。つまみを動かして比べられます。ホイールか 2 本指で拡大、"
               "全画面表示もできます。",
    "download": "復元した画像をダウンロード",
    "trust_map": "明るい画素ほど疑わしい",
    "welcome": "1. 画像をドロップします。\n2. ノイズが推定され、画像に合うネットワークが選ばれます。\n"
               "3. *復元する* を押し、見比べて、同じ種類のファイルとしてダウンロードします。",
    "enlarges": "{scale} 倍に拡大",
    "denoises": "ノイズ除去（標準偏差 {noise}）",
    "deblurs": "ぼけの除去",
    "does_pairs": "画像の組から学習",
    "own_run": "自分の学習",
    "noise_about": "ノイズの標準偏差は約 {noise}と推定されます。",
    "noise_at_most": "ノイズの標準偏差は最大で {noise}と推定されます（細かい模様も含む値）。",
    "noise_unknown": "見える部分が少なく、ノイズは推定できません。",
    "of_range": "範囲の {percent}",
    "gray_levels": "{levels} 階調",
    "proposed": "この画像に合う `{name}` を選びました。ほかのものも選べます。",
    "none_suits": "この画像に合うネットワークはありません。効果はあまり期待できません。",
    "unsuited_noise": "このネットワークは標準偏差 {trained}のノイズで学習しているため、{consequence}。",
    "unsuited_noise_free": "このネットワークはノイズのない画像で学習しているため、{consequence}。",
    "harm": "かえって悪くなるおそれがあります",
    "lost detail": "細部が失われるおそれがあります",
    "some of it to stay": "ノイズが一部残る見込みです",
    "unsuited_sharp": "この画像は鮮明ですが、ネットワークはぼけた画像で学習しているため、"
                      "かえって悪くなるおそれがあります。",
    "unsuited_large": "この画像は鮮明ですが、今の設定は {scale} 倍に拡大されてぼけた画像のためのものです。"
                      "「小さい」を選んでください。",
    "unsuited_enlarged": "{scale} 画素より細かいものが見えません。拡大済みの画像なら「拡大済み」を選んでください。",
    "stretched": "実際より強いコントラストで表示しています。ファイルの値はそのままです。",
    "reduced": "1/{step} に縮小して表示しています。ファイルは元の画素数のままです。",
    "done": "{width} × {height} 画素、{seconds:.0f} 秒。",
    "unusable": "このファイルは復元できません。理由（英語）: it {reason}.",
    "none_yet": "はじめに画像をドロップしてください。",
    "choose": "ネットワークを選んでください。",
    "gone": "画像は 1 時間たったため消去されました。もう一度ドロップしてください。",
    "no_network": "このネットワークはもうありません。ページを読み込み直して、ほかのものを選んでください。",
    "wrong_type": "この種類のファイルは復元できません。使えるのは {suffixes} です。",
    "several_pages": "{pages} ページのファイルです。このページで扱えるのは 1 枚だけなので、"
                     "必要なページを別のファイルに保存するか、"
                     "コマンドを使ってください: `python3 inception2.py restore FILE --pages`",
    "too_large": "大きすぎます。復元後の大きさは {megapixels} メガピクセルまでです。"
                 "切り抜くか、制限のないコマンドを使ってください: `python3 inception2.py restore FILE`",
    "too_many_bytes": "ファイルが {megabytes} MB を超えています。制限のないコマンドを使ってください: "
                      "`python3 inception2.py restore FILE`",
}

LANGUAGES = {"en": EN, "ja": JA}
