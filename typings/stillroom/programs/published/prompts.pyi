from programs.published.prompts import *
