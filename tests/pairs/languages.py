"""Two small sets of our own in languages other than English: passages, and queries with the passage that answers."""

GERMAN = {
    "d1": "Die Bäckerin verkauft morgens frische Brötchen und Brezeln am Marktplatz.",
    "d2": "Im Herbst sammeln die Kinder Kastanien und basteln daraus kleine Tiere.",
    "d3": "Der Zug nach Hamburg hält nicht in kleinen Bahnhöfen, sondern fährt durch.",
    "d4": "Wer die Wohnung kündigt, muss eine Frist von drei Monaten einhalten.",
    "d5": "Hunde müssen im Naturschutzgebiet an der Leine geführt werden.",
    "d6": "Das Schwimmbad öffnet im Sommer um acht Uhr und schließt bei Gewitter.",
    "d7": "Für den Teig werden Mehl, Hefe und lauwarmes Wasser verknetet.",
    "d8": "Die Bibliothek verleiht Bücher für vier Wochen, Filme nur für eine.",
    "d9": "Alte Eichen stehen am Ufer und spenden den Spaziergängern Schatten.",
    "d10": "Die Ärztin rät, bei Fieber viel zu trinken und im Bett zu bleiben.",
}
# Each asks in another form of the word than the passage has: plural, genitive, conjugation.
GERMAN_QUERIES = {
    "frisches Brötchen kaufen auf dem Markt, verkaufte Brezel": "d1",
    "kleines Tier aus einer Kastanie gebastelt": "d2",
    "hält der Zug an einem kleinen Bahnhof": "d3",
    "Fristen beim Kündigen von Wohnungen": "d4",
    "muss der Hund im Naturschutzgebiet an Leinen": "d5",
    "Öffnung der Schwimmbäder bei Gewittern": "d6",
    "ausgeliehenes Buch, verleihen der Bibliotheken": "d8",
    "Schatten einer alten Eiche": "d9",
}
CHINESE = {
    "z1": "图书馆每天早上九点开门，周一闭馆整理书架。",
    "z2": "这家餐厅的辣椒炒肉很有名，需要提前一天预订座位。",
    "z3": "从火车站到机场可以坐地铁二号线，大约四十分钟。",
    "z4": "游泳池的水温保持在二十七度，儿童必须由家长陪同。",
    "z5": "租房合同一般签一年，提前退租要付一个月的违约金。",
    "z6": "秋天去香山看红叶的人很多，周末最好坐公共汽车上山。",
    "z7": "发烧的时候应该多喝水，超过三天不退烧就去医院。",
    "z8": "自行车不能带进地铁车厢，折叠的自行车除外。",
}
CHINESE_QUERIES = {
    "图书馆几点开门": "z1",
    "怎么预订餐厅座位": "z2",
    "去机场坐哪条地铁": "z3",
    "孩子游泳要家长陪同吗": "z4",
    "提前退租的违约金": "z5",
    "香山红叶什么时候看": "z6",
    "发烧几天去医院": "z7",
    "折叠自行车可以带进地铁吗": "z8",
}
