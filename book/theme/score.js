// A chapter is what most people look for, first the one whose title says it; the API page names everything and would come first.
var Scorer = {
  score: ([page, title, , , score]) => {
    const letters = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
    const asked = letters(new URLSearchParams(location.search).get("q") ?? "");
    if (page === "api") return score - 30;
    return !/^(idea|cases|family|practice)\//.test(page) ? score : score + (asked && letters(title).includes(asked) ? 130 : 30);
  },
  objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
