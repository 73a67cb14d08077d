"""The peer: what a careful user writes in 45 lines with asyncio and the openai client; no journal, budget, resume.

python benchmarks/teacher/peer_asyncio.py URL N CAP OUT.jsonl
"""

import asyncio
import json
import sys
import time

import openai


async def main(url: str, count: int, cap: int, out: str) -> None:
    """Ask `count` prompts, `cap` in flight, a line each to `out`."""
    began = time.process_time()
    client = openai.AsyncOpenAI(
        base_url=url, api_key="none", max_retries=5, timeout=60, http_client=openai.DefaultAioHttpClient()
    )
    todo = iter(range(count))
    with open(out, "w", encoding="utf-8") as file:

        async def lane() -> None:
            for number in todo:
                answer = await client.chat.completions.create(
                    model="bench", messages=[{"role": "user", "content": prompt(number)}], temperature=0.6
                )
                message = answer.choices[0].message
                row = {
                    "number": number,
                    "reasoning": getattr(message, "reasoning_content", None),
                    "content": message.content,
                    "tokens": answer.usage.completion_tokens if answer.usage else None,
                }
                file.write(json.dumps(row) + "\n")
                file.flush()

        await asyncio.gather(*(lane() for _ in range(cap)))
    await client.close()
    print(json.dumps({"cpu_s": time.process_time() - began}))


def prompt(number: int) -> str:
    """The prompts that the benchmark asks too."""
    return f"Is this relevant?\nQuery: query number {number}\nPassage: {'a passage of some length ' * 12}{number}"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
