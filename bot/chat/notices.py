"""What the owners are told of providers and money; each once, by whoever observes it."""

from bot.domain.cloud import BudgetNews, CloudEvent, ProviderNews


def cloud_notice(event: CloudEvent) -> str:
    """One message for the owners."""
    match event:
        case ProviderNews(what="out", name=name, reason=reason):
            return f"☁ **{name}** is out: {reason} Other candidates answer meanwhile."
        case ProviderNews(what="back", name=name):
            return f"☁ **{name}** answers again."
        case ProviderNews(name=name, reason=reason):
            return f"☁ **{name}** does not take our requests: {reason} Look at its settings."
        case BudgetNews(what="alert", day=day, spent_micro_usd=spent, cap_micro_usd=cap):
            share = spent / cap if cap else 1.0
            return f"💰 {share:.0%} of the cloud budget of {day} is spent (${spent / 1e6:.2f})."
        case BudgetNews(day=day, cap_micro_usd=cap):
            return (
                f"💰 The cloud budget of {day} (${cap / 1e6:.2f}) does not suffice for another "
                "answer. Your own hosts go on; `budget.daily_usd` raises the limit."
            )
