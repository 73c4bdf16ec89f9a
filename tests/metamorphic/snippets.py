"""Code as people paste it, in nine forms; {n} and {day} are numbers."""

CODE = (
    '''\
def load_{n}(path, limit={n}):
    """Read the rows of a file."""
    rows = []
    with open(path) as file:
        for line in file:
            if not line.strip():
                continue
            rows.append(parse(line, {n}))
    return rows[:limit]
''',
    """\
class Store{n}(Base):
    size = {n}

    def __init__(self, name, items=None):
        self.name = name
        self.items = items or []

    @property
    def total(self):
        return sum(item.price * item.count for item in self.items)
""",
    """\
export async function fetch{n}(id) {{
  const reply = await client.get(`/items/${{id}}?page={n}`);
  if (!reply.ok) {{
    throw new Error("status " + reply.status);
  }}
  return reply.json();
}}
""",
    """\
public class Item{n} {{
    private final int count = {n};

    public Item{n}(String name) {{
        this.name = name;
    }}

    public boolean isEmpty() {{
        return count == 0 && name != null;
    }}
}}
""",
    """\
static int find_{n}(const int *rows, size_t count)
{{
    for (size_t i = 0; i < count; i++) {{
        if (rows[i] == {n})
            return (int)i;
    }}
    return -1;
}}
""",
    """\
func Read{n}(r io.Reader) (int, error) {{
\tbuf := make([]byte, {n})
\tcount, err := r.Read(buf)
\tif err != nil {{
\t\treturn 0, fmt.Errorf("read: %w", err)
\t}}
\treturn count, nil
}}
""",
    """\
SELECT o.id, c.name, SUM(o.total) AS total
FROM orders o
JOIN customers c ON c.id = o.customer_id
WHERE o.created_at > '2026-01-{day}' AND c.region = {n}
GROUP BY o.id, c.name
ORDER BY total DESC
LIMIT {n};
""",
    """\
impl Queue{n} {{
    pub fn push(&mut self, item: u32) -> Result<(), Error> {{
        if self.items.len() >= {n} {{
            return Err(Error::Full);
        }}
        self.items.push(item);
        Ok(())
    }}
}}
""",
    """\
# settings of the service
services:
  web{n}:
    image: app:{n}
    ports:
      - "{n}:80"
    environment:
      MODE: production
      LIMIT: {n}
""",
)  # fmt: skip
