"""Function words: they bind a sentence together and say little of what it is about."""

from __future__ import annotations

# articles, pronouns, auxiliaries, prepositions, conjunctions, and adverbs that only point or measure; no nouns, no
# adjectives. `not`, `no` and `never` are among them: a list for topics and search, not for sentiment.
ENGLISH = frozenset(
    """
    a an the
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
    we us our ours ourselves they them their theirs themselves one oneself
    this that these those here there who whom whose which what when where why how
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would ought
    i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd
    i'll you'll he'll she'll it'll we'll they'll that's that'll there's here's who's what's where's when's how's let's
    isn't aren't wasn't weren't haven't hasn't hadn't doesn't don't didn't can't cannot couldn't mayn't mightn't mustn't
    shan't shouldn't won't wouldn't
    about above across after against along amid among around as at before behind below beneath beside besides between
    beyond by despite down during except for from in inside into like near of off on onto out outside over per
    since through throughout till to toward towards under until up upon via with within without
    and but or nor so yet if then else than because although though while whereas unless whether
    no not never none nothing neither either both each every all any some such same other another
    only just even also too very much many more most less least few own
    again once now ever still quite rather almost already
    """.split()  # noqa: SIM905 - nobody reads 200 pairs of quotation marks
)

# particles, pronouns, conjunctions, prepositions, measure and modal words, and adverbs of degree and time; 不, 没 and
# their kind are among them, as in the English list. Words of one character and of several.
CHINESE = frozenset(
    """
    的 地 得 之 所 者 了 着 过 吗 呢 吧 啊 呀 嘛 哦 哈 嗯 哪 么 们 而已 似的 一样
    我 你 您 他 她 它 咱 我们 你们 您们 他们 她们 它们 咱们 自己 人家 大家 别人 彼此
    这 那 此 该 这个 那个 这些 那些 这里 那里 这儿 那儿 这样 那样 这么 那么 这种 那种 此外 其 其他 其它 其中 其余
    谁 什么 哪个 哪些 哪里 哪儿 怎么 怎样 怎么样 如何 为何 为什么 多少 几
    某 某个 某些 每 每个 各 各个 各种 任何 一些 一个 一种 有些 有的 所有 一切 全部 许多
    和 与 及 以及 跟 同 或 或者 还是 并 并且 而 而且 且 但 但是 可是 不过 然而 却 因 因为 由于 所以 因此 因而 于是
    如 如果 假如 要是 若 倘若 只要 只有 除非 虽 虽然 尽管 即使 即便 哪怕 无论 不论 不管 既 既然 以便 以免 从而 甚至 何况
    在 于 从 自 自从 到 至 向 往 朝 对 对于 关于 至于 由 被 把 将 给 让 叫 使 为 为了 以 用 按 按照 根据 依据 通过 随着
    比 除 除了 除此之外 当 经过 沿着 作为
    是 有 就是 也是 还有 没有 不是 会 能 能够 可 可以 可能 应 应该 应当 必须 要 得以 需要 愿意 肯 敢
    不 没 未 非 无 别 不要 不会 不能
    很 太 更 最 极 十分 非常 特别 比较 相当 稍 稍微 几乎 越 越来越 真 好 多么
    也 都 又 再 还 就 才 只 仅 仅仅 只是 便 即 即将 已 已经 曾 曾经 正 正在
    刚 刚刚 总 总是 常 常常 经常 一直 仍 仍然 依然
    然后 接着 之后 之前 以后 以前 以来 之间 之中 以上 以下 时 时候 当时 同时 等 等等 等于
    例如 比如 譬如 即是 也就是说 换句话说 总之
    上 下 里 内 外 中 前 后 个 些 次 种
    """.split()  # noqa: SIM905 - nobody reads 200 pairs of quotation marks
)

STOP_WORDS = {"english": ENGLISH, "chinese": CHINESE, "english+chinese": ENGLISH | CHINESE}
"""Lists by name."""
