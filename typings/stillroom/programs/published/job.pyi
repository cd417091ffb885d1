from programs.published.job import *
