from cli.report_origin import *
