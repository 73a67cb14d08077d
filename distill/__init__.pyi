from distill.api import Overrides as Overrides
from distill.api import Rows as Rows
from distill.api import Run as Run
from distill.api import Student as Student
from distill.api import ask_teacher as ask_teacher
from distill.api import evaluate as evaluate
from distill.api import filter_traces as filter_traces
from distill.api import make_dataset as make_dataset
from distill.api import make_pairs as make_pairs
from distill.api import run as run
from distill.api import train as train
from distill.api import write_report as write_report

__version__: str
