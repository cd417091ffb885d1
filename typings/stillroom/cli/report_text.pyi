from cli.report_text import *
