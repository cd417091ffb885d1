from cli.doctor import *
