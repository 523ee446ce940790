"""Documentation 4.2: the results of tasks, as JSON.

The documentation's lines stand here as they are written there.
"""
# fmt: off

from aiecs_redis import get_redis_client

redis_client = None


async def cache_task_result(task_id: str, result: dict):
    """Cache task result"""
    result_key = f"result:{task_id}"

    # Serialize result to JSON string
    import json
    result_json = json.dumps(result, ensure_ascii=False)

    # Cache result, set 1 hour expiration
    await redis_client.set(result_key, result_json, ex=3600)
    print(f"Task {task_id} result cached")


async def get_task_result(task_id: str) -> dict:
    """Get task result"""
    result_key = f"result:{task_id}"
    result_json = await redis_client.get(result_key)
    if result_json:
        import json
        return json.loads(result_json)
    else:
        return None


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()

    # Usage example
    task_result = {
        "accuracy": 0.95,
        "processing_time": 120,
        "output_file": "result.csv"
    }
    await cache_task_result("task_789", task_result)
    result = await get_task_result("task_789")
    print(f"Task result: {result}")

    same = "the same" if result == task_result else "NOT the same"
    return f"result of task_789 comes back {same}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
